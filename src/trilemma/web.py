"""Requests to servers that nobody vouches for: in a limited time in all, and without showing secrets."""

import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit, urlunsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)

_KEY = re.compile(r"(?=[^/]*\d)[^/]{16,}")
"""A part of a path that may be a key: long, with a digit."""

HIDDEN = "…"


class WebAnswer(NamedTuple):
    """What a server answered; ``body`` has at most one byte more than was allowed."""

    status: int
    reason: str
    headers: Message | Mapping[str, str]
    body: bytes


def ask(request: Request, seconds: float, most: int, *, redirects: bool) -> WebAnswer:
    """The answer of a server, whatever its status.

    Args:
        request: what is sent.
        seconds: for all of it, from connecting to the last byte; a server that sends a byte a second, or
            headers without end, gets no more.
        most: bytes of the answer.
        redirects: whether they are followed.

    Raises:
        TimeoutError: when the time is over.
        OSError, HTTPException, ValueError: when there is no answer, or the request cannot be sent.
    """
    watch = _Watch(seconds)
    handlers = [_Plain(watch), _Secure(watch), *([] if redirects else [_NoRedirects()])]
    try:
        with build_opener(*handlers).open(request, timeout=seconds) as response:
            found = WebAnswer(response.status, response.reason, response.headers, response.read(most + 1))
    except HTTPError as error:
        with error:
            body = b""
            with suppress(OSError, HTTPException):
                body = error.read(most + 1)
        found = WebAnswer(error.code, str(error.reason), error.headers, body)
    except (OSError, HTTPException) as error:
        if watch.over or isinstance(getattr(error, "reason", None), TimeoutError):
            raise TimeoutError from error
        raise
    finally:
        watch.end()
    if watch.over:
        raise TimeoutError
    return found


class _Watch:
    """Cuts the connections of a request when its time is over: single reads with limits have none in all."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def connect(self, *where: Any) -> socket.socket:
        """A connection that is watched, during the handshakes of TLS and of a proxy too."""
        made = socket.create_connection(*where)
        self._sockets.append(made.dup())  # TLS takes over the first one
        if self.over:
            self._cut()
        return made

    def _cut(self) -> None:
        self.over = True
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Watch no longer."""
        self._timer.cancel()
        for one in self._sockets:
            one.close()

    def opening(self, kind: type[HTTPConnection]) -> Any:
        """What makes connections of a kind."""

        def opened(host: str, **options: Any) -> HTTPConnection:
            connection = kind(host, **options)
            connection._create_connection = self.connect  # type: ignore[attr-defined]
            return connection

        return opened


class _Plain(HTTPHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def http_open(self, req: Request) -> Any:
        return self.do_open(self.watch.opening(HTTPConnection), req)


class _Secure(HTTPSHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def https_open(self, req: Request) -> Any:
        return self.do_open(self.watch.opening(HTTPSConnection), req)


class _NoRedirects(HTTPRedirectHandler):
    """Treats a redirect as what it is: a status that is not 200."""

    def redirect_request(self, *of: Any) -> None:
        """Follow no redirect."""


def shown(url: str) -> str:
    """An address without what may be secret: user, query, fragment, long parts of the path with digits."""
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition("://")[0] + "://" + HIDDEN
    rest = f"?{HIDDEN}" if parts.query or parts.fragment else ""
    return urlunsplit((parts.scheme, place, _KEY.sub(HIDDEN, parts.path), "", "")) + rest


def without_secrets(text: str, *urls: str) -> str:
    """A text in which addresses are as :func:`shown`, and what is secret in ``urls`` is left out wherever."""
    urls = tuple(url for url in urls if "://" in url)
    for url in urls:  # one with a space in it, too
        text = text.replace(url, shown(url))
    text = _URL.sub(lambda found: shown(found[0]), text)
    secrets: set[str] = set()
    for url in urls:
        with suppress(ValueError):
            parts = urlsplit(url)
            values = [value for _, value in parse_qsl(parts.query)]
            values += [*parts.netloc.rpartition("@")[0].split(":"), *_KEY.findall(parts.path)]
            secrets |= {parts.query, parts.fragment, *values, *map(quote, values), *map(quote_plus, values)}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 3:  # shorter ones are no keys, and stand in any text
            text = text.replace(secret, HIDDEN)
    return text
