"""`trilemma pretrain`: whole or absent, and it goes on only from what it began itself."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from trilemma.study.pretraining import pretrain_folder, summary
from trilemma.training.corpus import read_texts

SETTINGS = ["--arch", "gla", "--size", "nano", "--vocabulary", "300", "--length", "16", "--batch", "4"]
STEPS = 250
TOKENS = str(STEPS * 4 * 16)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(f"story {i} goes on for {i * i} days" for i in range(1500)))
    return path


def command(corpus: Path, out: Path, *more: str) -> list[str]:
    paths = ["--corpus", str(corpus), "--out", str(out)]
    return [sys.executable, "-m", "trilemma", "pretrain", *SETTINGS, *paths, "--tokens", TOKENS, *more]


def refused(corpus: Path, out: Path, *more: str) -> str:
    done = subprocess.run(command(corpus, out, *more), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_killed_pretraining_goes_on_and_ends_with_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(corpus, whole), check=True, capture_output=True, timeout=300)
    assert str(json.loads((whole / "pretrain.json").read_text())["tokens"]) == TOKENS

    process = subprocess.Popen(command(corpus, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = tmp_path / ".killed.partial"
    deadline = time.monotonic() + 200
    while not list(work.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not killed.exists()

    assert "another seed" in refused(corpus, killed, "--seed", "1")
    assert "another tokenizer" in refused(corpus, killed, "--vocabulary", "310")
    assert list(work.glob("checkpoint-*"))

    subprocess.run(command(corpus, killed), check=True, capture_output=True, timeout=300)
    assert not work.exists()
    old, new = (load_file(folder / "model.safetensors") for folder in (whole, killed))
    assert all((old[name] == new[name]).all() for name in old)
    assert "exists already" in refused(corpus, killed)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--arch", "rnn"), "unknown architecture 'rnn'"),
        (("--size", "huge"), "unknown size 'huge'"),
        (("--corpus", "absent.txt"), "corpus file absent.txt does not exist"),
        (("--learning-rate", "3"), "--learning-rate: should be less than 1"),
        (("--tokens", "10X"), "--tokens: '10X' is no count; give a whole number, or one with k, M or B"),
        (("--corpus", "x" * 5000), "does not exist"),
        (("--tokenizer", "absent"), "absent"),
    ],
)
def test_a_refused_pretraining_leaves_nothing(
    corpus: Path, tmp_path: Path, more: tuple[str, str], reason: str
) -> None:
    assert reason in refused(corpus, tmp_path / "model", *more)
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
    settings = {"tokens": "2k", "length": 64, "batch": 4, "learning_rate": None}
    facts = pretrain_folder(
        "gla", "nano", [tmp_path / "corpus.txt"], tmp_path / "model", settings=settings, vocabulary=300
    )
    assert facts["held_out_word_perplexity"] is None and facts["held_out_perplexity"] > 1
    first, second, third = summary(facts, tmp_path / "model")
    assert "gla-nano" in first and "2,000 tokens" in first
    assert "perplexity" in second and str(tmp_path / "model" / "pretrain.json") in third


def test_a_corpus_of_one_document_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a single line\n")
    assert "at least two" in refused(tmp_path / "one.txt", tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["one.txt"]
