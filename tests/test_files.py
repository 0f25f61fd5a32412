"""The system's refusals, and a user without a home."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trilemma.errors import StoreError, is_out_of_memory
from trilemma.files import disk_errors, settle_home, write_text


def test_a_user_without_home_and_entry_gets_a_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: os.environ.get("HOME") or path)
    given = tmp_path / f"trilemma-{os.getuid()}"
    for _ in range(2):
        monkeypatch.delenv("HOME", raising=False)
        settle_home()
        assert os.environ["HOME"] == str(given) and given.stat().st_mode & 0o777 == 0o700
    given.rmdir()
    given.symlink_to(tmp_path)  # somebody else may have been there first
    monkeypatch.delenv("HOME", raising=False)
    settle_home()
    assert os.environ["HOME"] != str(given) and Path(os.environ["HOME"]).is_dir()


@pytest.mark.parametrize("words", [["doctor"], ["show", "no such run"]])
def test_commands_need_no_home(words: list[str]) -> None:
    code = f"""
import os, pwd, sys
def unknown(user): raise KeyError(user)
pwd.getpwuid = unknown
os.environ.pop("HOME", None)
sys.argv = ["trilemma", *{words!r}]
from trilemma.cli.main import main
main()
import altair
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "show" in words else 0) and "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_file_that_is_larger_than_allowed_is_one_sentence(tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from trilemma.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_text(Path({str(tmp_path / "a.txt")!r}), "x" * 5000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StoreError: cannot write" in done.stderr and "raise the limit (`ulimit -f`)" in done.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(StoreError, match="ulimit -f"), disk_errors(tmp_path):
        raise OSError(errno.EFBIG, "File too large")
    write_text(tmp_path / "a.txt", "x")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ImportError("No module named torch"), False),
    ],
)
def test_the_end_of_memory_has_many_names(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize(
    "words", [["run", "s.yaml", "--out", ""], ["run", "s.yaml", "--out="], ["show", " "]]
)
def test_an_empty_word_is_no_folder(words: list[str], tmp_path: Path) -> None:
    done = command(words, tmp_path)
    assert done.returncode == 2 and b"a word of the command is empty" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_not_utf8_is_refused_before_any_work(tmp_path: Path) -> None:
    done = command(["run", "s.yaml", "--out", os.fsdecode(b"run\xff")], tmp_path)
    assert done.returncode == 2 and b"is not UTF-8; choose another" in done.stderr
    assert not list(tmp_path.iterdir())


def command(words: list[str], folder: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "trilemma", *words], capture_output=True, check=False, cwd=folder
    )
