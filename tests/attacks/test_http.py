import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.stand_ins.victims import Answer, BagOfWords, Endpoint
from trilemma.attacks import attack_model
from trilemma.attacks.attack import Attacked, AttackRun, ignored
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.search.greedy import GreedyWordImportance
from trilemma.attacks.transformations.characters import TEXTBUGGER, Misspelling
from trilemma.attacks.victims.http import HttpVictim
from trilemma.cli.main import main
from trilemma.errors import AttackError


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("no_proxy", "*")
    served = Endpoint()
    yield served
    served.close()


TEXTS = [("a good film", "and שלום 🎬"), ("\ud800 alone", ""), ("good",), ("film",), ("so good",)]


def test_answers_come_in_order_and_in_batches(endpoint: Endpoint) -> None:
    victim = HttpVictim(endpoint.url, batch=2, headers={"Authorization": "Bearer secret"})
    np.testing.assert_allclose(victim(TEXTS), BagOfWords({"good": 2.0})(TEXTS))
    assert [len(request["texts"]) for request in endpoint.requests] == [2, 2, 1]
    assert [tuple(text) for request in endpoint.requests for text in request["texts"]] == TEXTS
    assert all(sent["Authorization"] == "Bearer secret" for sent in endpoint.headers)
    assert all(sent["Content-Type"] == "application/json" for sent in endpoint.headers)
    assert "secret" not in repr(victim)
    assert victim([]).shape == (0, 0)


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("named", [{}, {"Retry-After": "0"}, {"Retry-After": "soon"}])
def test_a_busy_server_is_asked_again(endpoint: Endpoint, status: int, named: dict[str, str]) -> None:
    endpoint.answer = lambda count, texts: (status, named, b"busy") if count < 2 else endpoint.right(texts)
    assert HttpVictim(endpoint.url, backoff=0.001)([("good",)]).shape == (1, 2)
    assert len(endpoint.requests) == 3
    endpoint.requests.clear()
    with pytest.raises(AttackError, match=f"status {status} .*busy"):
        HttpVictim(endpoint.url, retries=1, backoff=0.001)([("good",)])
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404])
def test_a_refusal_is_final(endpoint: Endpoint, status: int) -> None:
    endpoint.answer = lambda count, texts: (status, {"Location": "http://elsewhere/"}, b"no\x1b[31m key")
    with pytest.raises(AttackError, match="elsewhere" if status < 400 else f"{status} .*no .*key") as error:
        HttpVictim(endpoint.url)([("good",)])
    assert "\x1b" not in str(error.value)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not answer with JSON"),
        (b"<html>\xff</html>", "not answer with JSON"),
        (b"[" * 100_000, "not answer with JSON"),
        (b"[[0.5, 0.5]]", "must answer"),
        (b'{"probabilities": 1}', "must answer"),
        (b'{"probabilities": [0.5, 0.5]}', "must answer"),
        (b'{"probabilities": [[], []]}', "must answer"),
        (b'{"probabilities": [[0.5, 0.5]]}', "2 texts with 1 lists"),
        (b'{"probabilities": [[0.5, 0.5], [1.0]]}', "1 classes, then with 2"),
        (b'{"probabilities": [[NaN, 0.5], [0.5, 0.5]]}', "finite"),
        (b'{"probabilities": [[1e999, 0.5], [0.5, 0.5]]}', "finite"),
        (b'{"probabilities": [["0.5", "0.5"], [0.5, 0.5]]}', "finite"),
        (b'{"probabilities": [[null, 0.5], [0.5, 0.5]]}', "finite"),
        (b'{"probabilities": [[true, false], [0.5, 0.5]]}', "finite"),
        (b'{"probabilities": [[1' + b"0" * 400 + b", 0], [0.5, 0.5]]}", "finite"),
        (b'{"probabilities": [[2.5, -1.5], [0.5, 0.5]]}', "softmax"),
        (b'{"probabilities": [[0.9, 0.9], [0.5, 0.5]]}', "softmax"),
    ],
)
def test_an_answer_that_is_none_is_named(endpoint: Endpoint, body: bytes, said: str) -> None:
    endpoint.answer = lambda count, texts: (200, {}, body)
    with pytest.raises(AttackError, match=said) as error:
        HttpVictim(endpoint.url)([("good",), ("bad",)])
    assert endpoint.url in str(error.value)
    assert len(str(error.value)) < 400


def test_batches_must_agree_on_the_classes(endpoint: Endpoint) -> None:
    rows = [[[0.5, 0.5]], [[0.5, 0.25, 0.25]]]
    endpoint.answer = lambda count, texts: (200, {}, json.dumps({"probabilities": rows[count]}).encode())
    with pytest.raises(AttackError, match="2 classes, then with 3"):
        HttpVictim(endpoint.url, batch=1)([("good",), ("bad",)])


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(AttackError, match=r"cannot be reached.*start its server"):
        HttpVictim(f"http://127.0.0.1:{port}/")([("good",)])


def test_a_server_that_is_too_slow_is_named(endpoint: Endpoint) -> None:
    def late(count: int, texts: list[list[str]]) -> Answer:
        endpoint.released.wait(10)
        return endpoint.right(texts)

    endpoint.answer = late
    with pytest.raises(AttackError, match=r"within 0\.05 s"):
        HttpVictim(endpoint.url, timeout=0.05)([("good",)])


@pytest.mark.parametrize("server", ["body", "headers", "continue", "refusal", "endless"])
def test_a_request_has_a_limit_in_all(server: str) -> None:
    """Each byte comes in time, the answer never."""
    begun = {
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        "headers": b"HTTP/1.1 200 OK\r\n",
        "continue": b"",
        "refusal": b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n",
        "endless": b"HTTP/1.1 200 OK\r\n\r\n",
    }[server]
    piece = {"headers": b"X-A: b\r\n", "continue": b"HTTP/1.1 100 Continue\r\n\r\n"}.get(server, b" ")
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(begun)
                while not stopped.wait(0.02):
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
            with pytest.raises(AttackError, match=r"did not answer within 0\.4 s"):
                HttpVictim(url, timeout=0.4)([("good",)])
        finally:
            stopped.set()
            thread.join()


@pytest.mark.parametrize("row", [[1.0], [0.1, 0.6, 0.1, 0.1, 0.1]])
def test_a_wrong_number_of_classes_is_refused(endpoint: Endpoint, row: list[float]) -> None:
    body = json.dumps({"probabilities": [row] * 3}).encode()
    endpoint.answer = lambda count, texts: (200, {}, body)
    with pytest.raises(AttackError, match=rf"answered with {len(row)} classes, and the task has 2"):
        attack_model.attack(endpoint.url, "sst2", "deepwordbug", items=3, budget=5)
    with pytest.raises(AttackError, match=rf"answers with {len(row)} classes, the task has 2"):
        attack_model.attack(lambda texts: np.array([row] * len(texts)), "sst2", "deepwordbug", items=3)
    assert len(endpoint.requests) == 1


def test_what_is_secret_in_an_address_is_nowhere(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{endpoint.url}/sk-4a5b6c7d8e9f0a1b2c?api_key=SECRET%2F99&model=a#FRAGMENT"
    endpoint.answer = lambda count, texts: (
        (200, {}, json.dumps({"probabilities": [[0.9, 0.1]] * len(texts)}).encode())
        if count == 0
        else (404, {}, b"no /predict/sk-4a5b6c7d8e9f0a1b2c?api_key=SECRET%2F99 for SECRET/99")
        if count == 1
        else (302, {"Location": f"{endpoint.url}?api_key=SECRET%2F99"}, b"")
    )
    for address in (url, url, "ftp://me:SECRET@host/", "http://me:SECRET@host/", url + " SECRET"):
        words = ["attack", address, "--task", "sst2", "--recipe", "deepwordbug", "--items", "3"]
        monkeypatch.setattr("sys.argv", ["trilemma", *words, "--out", str(tmp_path / "out.parquet")])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
    said = "".join(capsys.readouterr())
    assert "/predict/" in said and "404" in said and "redirects" in said
    for text in (said, (tmp_path / "out.journal").read_text(), repr(HttpVictim(url))):
        assert not any(secret in text for secret in ("SECRET", "sk-4a", "FRAGMENT"))


def test_a_connection_that_breaks_is_named(endpoint: Endpoint) -> None:
    endpoint.answer = lambda count, texts: (200, {"Content-Length": "9999"}, b'{"probabilities"')
    with pytest.raises(AttackError, match=r"cannot be reached|not answer with JSON"):
        HttpVictim(endpoint.url)([("good",)])


@pytest.mark.parametrize(
    "url", ["", "localhost:80", "file:///etc/passwd", "http://", "http://[", "http://h:99999/", "ftp://h/"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(AttackError, match="HOST"):
        HttpVictim(url)


def test_settings_that_cannot_work_are_refused(endpoint: Endpoint) -> None:
    with pytest.raises(AttackError, match="Authorization"):
        HttpVictim("http://me:secret@host/")
    for settings in ({"batch": 0}, {"retries": -1}, {"backoff": float("nan")}, {"timeout": float("inf")}):
        with pytest.raises(AttackError, match="batch >= 1"):
            HttpVictim(endpoint.url, **settings)  # type: ignore[arg-type]
    for victim in (
        HttpVictim(endpoint.url, headers={"X-Key": "a\r\nHost: elsewhere"}),
        HttpVictim(endpoint.url, headers={"X-Key": "ключ"}),
        HttpVictim(endpoint.url + " é"),
    ):
        with pytest.raises(AttackError, match=r"correct the address"):
            victim([("good",)])
    assert not endpoint.requests


ITEMS = [("good",), ("a good film, a good one and a really good story",), ("so good",), ("a film",)]


def attack(victim: HttpVictim, finished: dict[int, Attacked] | None = None) -> list[Attacked]:
    recipe = SearchAttack("word", GreedyWordImportance(), Misspelling(TEXTBUGGER))
    keep = ignored if finished is None else finished.__setitem__
    return recipe(victim, ITEMS, [1, 1, 1, 1], AttackRun(200, finished=keep))


def test_an_attack_over_http_is_the_attack_on_the_model(endpoint: Endpoint) -> None:
    recipe = SearchAttack("word", GreedyWordImportance(), Misspelling(TEXTBUGGER))
    direct = recipe(BagOfWords({"good": 2.0}), ITEMS, [1, 1, 1, 1], AttackRun(200))
    assert attack(HttpVictim(endpoint.url)) == direct
    assert [result.success for result in direct] == [True, True, True, False]


@pytest.mark.parametrize("broken", ["status", "nan", "closed"])
def test_a_server_that_fails_in_the_middle_loses_no_finished_item(endpoint: Endpoint, broken: str) -> None:
    whole = attack(HttpVictim(endpoint.url))
    endpoint.requests.clear()

    def fails(count: int, texts: list[list[str]]) -> Answer:
        if count < 3:
            return endpoint.right(texts)
        if broken == "status":
            return 500, {}, b"out of memory"
        if broken == "nan":
            return 200, {}, json.dumps({"probabilities": [[float("nan")] * 2] * len(texts)}).encode()
        raise ConnectionAbortedError

    endpoint.answer = fails
    endpoint.server.handle_error = lambda request, address: None  # type: ignore[method-assign]
    finished: dict[int, Attacked] = {}
    with pytest.raises(AttackError):
        attack(HttpVictim(endpoint.url, retries=1, backoff=0.001), finished)
    assert 0 in finished and 1 not in finished
    assert all(finished[index] == whole[index] for index in finished)
