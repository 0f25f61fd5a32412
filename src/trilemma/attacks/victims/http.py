"""A victim behind an HTTP endpoint."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import AttackError, one_line
from trilemma.tasks.task import Text
from trilemma.web import WebAnswer, ask, without_secrets

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
    redirects are not followed, since headers may contain a secret. What may be secret in the address is in no
    message.

    Args:
        url: of the endpoint, ``http://`` or ``https://``.
        timeout: seconds that one request may take in all, from connecting to the last byte of the answer.
        retries: how often a batch is sent again.
        backoff: seconds before the first retry; doubled before every further one.
        batch: texts per request.
        headers: sent with every request, such as ``Authorization``.
        classes: that the task has; None for any number.

    Raises:
        AttackError: if it is not an address, or no request can be made with the settings.
    """

    url: str = field(repr=False)
    timeout: float = 60.0
    retries: int = 4
    backoff: float = 0.5
    batch: int = 64
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    classes: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is sent."""
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise AttackError(
                f"{without_secrets(self.url, self.url)!r} is not the address of a victim; give one as "
                "http://HOST:PORT/PATH"
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
        if self.classes is not None and widths not in ([], [self.classes]):
            raise self._broken(
                f"answered with {widths[0]} classes, and the task has {self.classes}; attack it on the task "
                "that its model was adapted to"
            )
        return np.array(answers, np.float32).reshape(len(texts), widths[0] if widths else 0)

    def _answer(self, texts: Sequence[Text]) -> bytes:
        """The body of the answer to one batch, after as many trials as are needed and allowed."""
        body = json.dumps({"texts": texts}).encode("ascii")
        trial = 0
        while (answer := self._post(body)).status != 200:
            if trial == self.retries or not (answer.status == 429 or answer.status >= 500):
                raise self._broken(_refusal(answer))
            pause = _retry_after(answer, self.timeout)
            time.sleep(self.backoff * 2**trial if pause is None else pause)
            trial += 1
        return answer.body

    def _post(self, body: bytes) -> WebAnswer:
        headers = {**self.headers, "Content-Type": "application/json", "Accept": "application/json"}
        try:
            request = Request(self.url, body, headers, method="POST")
            answer = ask(request, self.timeout, LARGEST, redirects=False)
        except TimeoutError as error:
            raise self._broken(
                f"did not answer within {self.timeout:g} s; raise `timeout` or lower `batch`"
            ) from error
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise self._broken(
                f"cannot be reached ({_short(str(reason))}); start its server or correct the address"
            ) from error
        except ValueError as error:
            raise self._broken(
                f"cannot be sent a request ({_short(str(error))}); correct the address or the headers"
            ) from error
        if len(answer.body) > LARGEST:
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
        return AttackError(without_secrets(f"the victim at {self.url} {what}", self.url))


def _refusal(answer: WebAnswer) -> str:
    """What a status that is not a success means, and what to do about it."""
    if 300 <= answer.status < 400:
        return (
            f"redirects to {_short(str(answer.headers.get('Location')))}; give that address if you trust it"
        )
    body = answer.body[:400].decode("utf-8", "replace")
    remedy = (
        "fix its server, or lower `batch`"
        if answer.status >= 500
        else "ask less often, or raise `retries` or `backoff`"
        if answer.status == 429
        else "correct the address, the headers or the server"
    )
    reason = f": {_short(body)}" if body.strip() else ""
    return f"refused with status {answer.status} {_short(answer.reason)}{reason}; {remedy}"


def _retry_after(answer: WebAnswer, most: float) -> float | None:
    """Seconds that the server asks to wait, ``most`` at most; None where it does not say."""
    named = str(answer.headers.get("Retry-After", "")).strip()
    return min(float(named), most) if named.isascii() and named.isdigit() else None


def _short(text: str) -> str:
    """A foreign text, made fit for one line of a message."""
    return one_line(text, 200)
