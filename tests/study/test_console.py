"""What is shown of running work where there is no terminal."""

import io
import time

from rich.console import Console

from trilemma.study.console import ConsoleListener, progress_bar
from trilemma.study.stages.tokenizer import Tokenizer


def lines_of(text: io.StringIO) -> list[str]:
    return text.getvalue().splitlines()


def wait_for(text: io.StringIO, what: str) -> None:
    """Until a line says it; at most ten seconds."""
    end = time.monotonic() + 10
    while what not in text.getvalue():
        assert time.monotonic() < end, text.getvalue()
        time.sleep(0.01)


def test_one_piece_of_work_says_by_time_how_far_it_is() -> None:
    text = io.StringIO()
    with progress_bar("pretraining gla-nano", Console(file=text, width=200), every=0.05) as report:
        wait_for(text, "pretraining gla-nano: for 0 seconds\n")  # before anything is reported
        report(30, 120, "tokens")
        wait_for(text, "pretraining gla-nano: for 0 seconds, 25%, ")
    assert "tokens/s" in lines_of(text)[-1]
    with progress_bar("calibrating", Console(file=text, width=200), every=0.05) as report:
        report(0.5, 1, "")
        wait_for(text, "calibrating: for 0 seconds, 50%\n")  # a share has no rate
    said = len(lines_of(text))
    time.sleep(0.2)
    assert len(lines_of(text)) == said


def test_short_work_says_nothing() -> None:
    text = io.StringIO()
    with progress_bar("calibrating", Console(file=text)) as report:
        report(1, 1, "shapes")
    assert text.getvalue() == ""


def test_a_stage_says_by_time_how_far_it_is() -> None:
    text, stage = io.StringIO(), Tokenizer(title="on the corpus", vocabulary=300)
    with ConsoleListener(Console(file=text, width=200), every=0.05) as listener:
        listener.preparing("reading the data")
        wait_for(text, "reading the data: for ")
        report = listener.started(stage)
        report(1, 2, "texts")
        wait_for(text, "tokenizer on the corpus: for 0 seconds, 50%, ")
        listener.finished(stage, 1.0, reused=False, failure="")
    assert any(line.startswith("[1/0] tokenizer on the corpus: 1.0 s") for line in lines_of(text))
