"""`trilemma pretrain`: whole or absent, and it resumes only what it began itself."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from trilemma.cli.main import main
from trilemma.errors import DataError, StoreError
from trilemma.progress import Progress, silent
from trilemma.training.corpus import read_texts
from trilemma.training.pretrain_settings import PretrainSettings
from trilemma.training.pretraining import PretrainFacts, pretrain, summary

OPTIONS = ["--arch", "gla", "--size", "nano", "--vocabulary", "300", "--length", "16", "--batch", "4"]
TOKENS_PER_STEP = 4 * 16

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(f"story {i} goes on for {i * i} days" for i in range(1500)))
    return path


def options(corpus: Path, out: Path, steps: int, *more: str) -> list[str]:
    paths = ["--corpus", str(corpus), "--out", str(out)]
    return ["pretrain", *OPTIONS, *paths, "--tokens", str(steps * TOKENS_PER_STEP), *more]


@pytest.fixture
def refused(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The one sentence with which the command refuses to pretrain into a folder."""

    def run(out: Path, *more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["trilemma", *options(corpus, out, 250, *more)])
        with pytest.raises(SystemExit) as end:
            main()
        message = capsys.readouterr().err
        assert end.value.code == 2 and message.count("\n") == 1, message
        return message

    return run


class KilledError(Exception):
    """Stands for a kill."""


def same_weights(one: Path, other: Path) -> bool:
    old, new = (load_file(folder / "model.safetensors") for folder in (one, other))
    return all(bool((old[name] == new[name]).all()) for name in old)


def test_a_stopped_pretraining_resumes_and_ends_with_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    settings = PretrainSettings(tokens=20 * TOKENS_PER_STEP, length=16, batch=4, checkpoint_steps=4)

    def run(out: Path, tokenizer: int = 300, seed: int = 0, progress: Progress = silent) -> PretrainFacts:
        return pretrain(
            "gla:nano", [corpus], out, settings, tokenizer=tokenizer, seed=seed, progress=progress
        )

    def stop(done: float, total: float, unit: str) -> None:
        if done > total / 2:
            raise KilledError

    whole, stopped, work = tmp_path / "whole", tmp_path / "stopped", tmp_path / ".stopped.partial"
    facts = run(whole)
    assert json.loads((whole / "pretrain.json").read_text())["tokens"] == facts.tokens == settings.tokens
    with pytest.raises(KilledError):
        run(stopped, progress=stop)
    assert not stopped.exists()
    with pytest.raises(StoreError, match="another seed"):
        run(stopped, seed=1)
    with pytest.raises(StoreError, match="another tokenizer"):
        run(stopped, tokenizer=310)
    assert list(work.glob("checkpoint-*"))
    run(stopped)
    assert not work.exists() and same_weights(whole, stopped)
    with pytest.raises(StoreError, match="exists already"):
        run(stopped)


@pytest.mark.slow
def test_a_killed_pretraining_resumes_and_ends_with_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        return [sys.executable, "-m", "trilemma", *options(corpus, out, 250)]

    whole, killed, work = tmp_path / "whole", tmp_path / "killed", tmp_path / ".killed.partial"
    subprocess.run(command(whole), check=True, capture_output=True)
    process = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(work.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    subprocess.run(command(killed), check=True, capture_output=True)
    assert not work.exists() and same_weights(whole, killed)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--arch", "rnn"), "unknown architecture 'rnn'"),
        (("--size", "huge"), "unknown size 'huge'"),
        (("--corpus", "absent.txt"), "corpus file absent.txt does not exist"),
        (("--learning-rate", "3"), "--learning-rate: should be less than 1"),
        (("--tokens", "10X"), "--tokens: '10X' is not a count; give a whole number, or one with k, M or B"),
        (("--corpus", "x" * 5000), "does not exist"),
        (("--tokenizer", "absent"), "absent"),
    ],
)
def test_a_refused_pretraining_leaves_nothing(
    refused: Refused, tmp_path: Path, more: tuple[str, str], reason: str
) -> None:
    assert reason in refused(tmp_path / "model", *more)
    assert not list(tmp_path.iterdir())


def test_lines_without_a_blank_one_are_documents(tmp_path: Path) -> None:
    lines = [f"line {i}" for i in range(4)]
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines) + "\n")
    assert list(read_texts([path])) == lines
    path.write_text("\n".join(lines) + "\n\n")
    assert list(read_texts([path])) == ["\n".join(lines)]
    path.write_text("line 0\nline 1\n\nline 2\nline 3")
    assert list(read_texts([path])) == ["line 0\nline 1", "line 2\nline 3"]


def test_a_text_without_spaces_is_pretrained_on(tmp_path: Path) -> None:
    letters = [chr(0x4E00 + i) for i in range(200)]
    rng = random.Random(0)
    text = "\n".join("".join(rng.choices(letters, k=900)) for _ in range(40))
    (tmp_path / "corpus.txt").write_text(text, "utf-8")
    settings = PretrainSettings(tokens=2000, length=64, batch=4)
    facts = pretrain("gla:nano", [tmp_path / "corpus.txt"], tmp_path / "model", settings, tokenizer=300)
    assert facts.held_out_word_perplexity is None and facts.held_out_perplexity > 1
    first, second, third = summary(facts, tmp_path / "model")
    assert "gla-nano" in first and "2,000 tokens" in first
    assert "perplexity" in second and str(tmp_path / "model" / "pretrain.json") in third


def test_a_corpus_of_one_document_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a single line\n")
    with pytest.raises(DataError, match="at least two"):
        pretrain("gla:nano", [tmp_path / "one.txt"], tmp_path / "model", PretrainSettings(tokens=2000))
    assert [path.name for path in tmp_path.iterdir()] == ["one.txt"]
