"""A victim behind an HTTP endpoint."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import AttackError
from trilemma.tasks.task import Text

LARGEST = 64 << 20
"""Largest answer in bytes: far more than probabilities take."""

LONGEST = 86_400
"""Longest timeout in seconds: a day."""

ROUNDING = 0.01
"""How far the sum of probabilities may be from 1: servers round, and answer in half precision."""


@dataclass(frozen=True)
class HttpVictim:
    """A model that answers over HTTP.

    The protocol: every batch is one ``POST`` of ``application/json``, ``{"texts": [["a text"], ...]}`` with
    one list of one or two texts per item. The answer is status 200 and
    ``{"probabilities": [[0.1, 0.9], ...]}``, one list per item in the same order, one number per class in the
    order of the task's classes, each from 0 to 1 with the sum 1. The same text must always get the same
    answer. Status 429 and 5xx are tried again, after ``Retry-After`` seconds where the answer names some;
    redirects are not followed, since headers may contain a secret.

    Args:
        url: of the endpoint, ``http://`` or ``https://``.
        timeout: seconds to wait for the connection, and for every part of the answer.
        retries: how often a batch is sent again.
        backoff: seconds before the first retry; doubled before every further one.
        batch: texts per request.
        headers: sent with every request, such as ``Authorization``.

    Raises:
        AttackError: if it is not an address, or no request can be made with the settings.
    """

    url: str
    timeout: float = 60.0
    retries: int = 4
    backoff: float = 0.5
    batch: int = 64
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is sent."""
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise AttackError(
                f"{self.url!r} is not the address of a victim; give one as http://HOST:PORT/PATH"
            )
        if parts.username is not None:
            raise AttackError(
                "the victim's address contains a user's name; give it by the header `Authorization`"
            )
        if self.batch < 1 or self.retries < 0 or not self.backoff >= 0 or not 0 < self.timeout <= LONGEST:
            raise AttackError(
                "a victim needs batch >= 1, retries >= 0, backoff >= 0 and a timeout of "
                f"at most {LONGEST} s; "
                f"it got {self.batch}, {self.retries}, {self.backoff:g} and {self.timeout:g}"
            )

    def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Class probabilities [n, classes] of n texts or pairs.

        Raises:
            AttackError: if the endpoint cannot be reached, is too slow, refuses, or answers with anything but
                one distribution per text.
        """
        answers: list[list[float]] = []
        for start in range(0, len(texts), self.batch):
            some = texts[start : start + self.batch]
            answers += self._distributions(self._answer(some), len(some))
        widths = sorted({len(row) for row in answers})
        if len(widths) > 1:
            raise self._broken(f"answered with {widths[0]} classes, then with {widths[-1]}")
        return np.array(answers, np.float32).reshape(len(texts), widths[0] if widths else 0)

    def _answer(self, texts: Sequence[Text]) -> bytes:
        """The body of the answer to one batch, after as many trials as are needed and allowed."""
        body = json.dumps({"texts": texts}).encode("ascii")
        trial = 0
        while True:
            try:
                return self._post(body)
            except HTTPError as error:
                with error:
                    if trial == self.retries or not (error.code == 429 or error.code >= 500):
                        raise self._broken(_refusal(error)) from error
                    pause = _retry_after(error.headers, self.timeout)
            time.sleep(self.backoff * 2**trial if pause is None else pause)
            trial += 1

    def _post(self, body: bytes) -> bytes:
        headers = {**self.headers, "Content-Type": "application/json", "Accept": "application/json"}
        try:
            request = Request(self.url, body, headers, method="POST")
            with build_opener(_NoRedirects).open(request, timeout=self.timeout) as response:
                answer: bytes = response.read(LARGEST + 1)
        except HTTPError:
            raise
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, TimeoutError):
                raise self._broken(
                    f"did not answer within {self.timeout:g} s; raise `timeout` or lower `batch`"
                ) from error
            raise self._broken(
                f"cannot be reached ({_short(str(reason))}); start its server or correct the address"
            ) from error
        except ValueError as error:
            raise self._broken(
                f"cannot be sent a request ({_short(str(error))}); correct the address or the headers"
            ) from error
        if len(answer) > LARGEST:
            raise self._broken(f"answered with more than {LARGEST >> 20} MiB; lower `batch`")
        return answer

    def _distributions(self, body: bytes, texts: int) -> list[list[float]]:
        """The probabilities in the body of an answer, checked."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._broken(
                f"did not answer with JSON ({_short(body[:400].decode('utf-8', 'replace'))!r})"
            ) from error
        rows = document.get("probabilities") if isinstance(document, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, list) and row for row in rows):
            raise self._broken('must answer {"probabilities": [[number, ...], ...]}')
        if len(rows) != texts:
            raise self._broken(f"answered {texts} texts with {len(rows)} lists of probabilities")
        return [self._distribution(row) for row in rows]

    def _distribution(self, row: list[Any]) -> list[float]:
        shown = _short(repr(row))
        try:
            numbers = [float(value) for value in row if type(value) in (int, float)]
        except OverflowError:
            numbers = []
        if len(numbers) != len(row) or not all(map(math.isfinite, numbers)):
            raise self._broken(
                f"answered a text with {shown}, where every probability must be a finite number"
            )
        if min(numbers) < 0 or abs(sum(numbers) - 1) > ROUNDING:
            raise self._broken(
                f"answered a text with {shown}, which are not probabilities; let the server apply the softmax"
            )
        return numbers

    def _broken(self, what: str) -> AttackError:
        return AttackError(f"the victim at {self.url} {what}")


class _NoRedirects(HTTPRedirectHandler):
    """Treats a redirect as what it is: a status that is not 200."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Follow no redirect."""


def _refusal(error: HTTPError) -> str:
    """What a status that is not a success means, and what to do about it."""
    if 300 <= error.code < 400:
        return f"redirects to {_short(str(error.headers.get('Location')))}; give that address if you trust it"
    try:
        body = error.read(400).decode("utf-8", "replace")
    except (OSError, HTTPException):
        body = ""
    remedy = (
        "fix its server, or lower `batch`"
        if error.code >= 500
        else "ask less often, or raise `retries` or `backoff`"
        if error.code == 429
        else "correct the address, the headers or the server"
    )
    reason = f": {_short(body)}" if body.strip() else ""
    return f"refused with status {error.code} {_short(str(error.reason))}{reason}; {remedy}"


def _retry_after(headers: Message, most: float) -> float | None:
    """Seconds that the server asks to wait, ``most`` at most; None where it does not say."""
    named = str(headers.get("Retry-After", "")).strip()
    return min(float(named), most) if named.isascii() and named.isdigit() else None


def _short(text: str) -> str:
    """A foreign text, made fit for one line of a message."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= 200 else f"{line[:200]}..."
