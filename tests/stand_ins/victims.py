"""Victims whose weakness is known."""

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from numpy.typing import NDArray

from trilemma.tasks.task import Text


class BagOfWords:
    """Answers class 1 by the sum of the weights of the words it knows; everything else is worth nothing.

    Args:
        weights: of words in lower case.
        bias: of class 1.
    """

    def __init__(self, weights: dict[str, float], bias: float = 0.0) -> None:
        self.weights, self.bias = weights, bias
        self.asked: list[Text] = []

    def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        self.asked += texts
        sums = [
            self.bias + sum(self.weights.get(word, 0.0) for part in text for word in part.lower().split())
            for text in texts
        ]
        positive = 1 / (1 + np.exp(-np.array(sums)))
        return np.stack([1 - positive, positive], axis=1).astype(np.float32)


class Failing:
    """A victim that answers so many calls and then raises."""

    def __init__(self, victim: BagOfWords, calls: int, error: Exception) -> None:
        self.victim, self.left, self.error = victim, calls, error

    def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.victim(texts)


Answer = tuple[int, dict[str, str], bytes]


class Endpoint:
    """A real server on this machine; answers as a bag of words unless the test says otherwise.

    Attributes:
        requests: the decoded body of every request.
        headers: of every request.
        answer: what to send for a body; called with the number of requests before this one.
    """

    def __init__(self) -> None:
        self.bag = BagOfWords({"good": 2.0})
        self.requests: list[dict[str, list[list[str]]]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[int, list[list[str]]], Answer] = lambda count, texts: self.right(texts)
        self.released = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append(body)
                endpoint.headers.append(dict(self.headers))
                status, headers, answer = endpoint.answer(len(endpoint.requests) - 1, body["texts"])
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/predict"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def right(self, texts: list[list[str]]) -> Answer:
        """The bag's probabilities."""
        rows = self.bag([tuple(text) for text in texts]).tolist()
        return 200, {}, json.dumps({"probabilities": rows}).encode()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
