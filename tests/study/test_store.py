"""Artifacts are whole or absent, and a damaged one is noticed."""

import errno
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trilemma.errors import StoreError
from trilemma.files import write_text
from trilemma.study.store import DamagedError, Store, locked


def put(store: Store, key: str = "k", text: str = "content") -> Path:
    with store.writing("adapt", key, {"title": "c"}) as (out, facts):
        (out / "sub").mkdir()
        (out / "sub" / "file.txt").write_text(text)
        facts["value"] = 3
    return store.folder("adapt", key)


def test_an_artifact_appears_whole_with_its_facts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.facts("adapt", "k") is None
    folder = put(store)
    assert Store(tmp_path).facts("adapt", "k") == {"value": 3}
    assert (folder / "sub" / "file.txt").read_text() == "content"


def test_facts_of_any_kind_keep_their_checksum_and_an_earlier_version_wrote_none(tmp_path: Path) -> None:
    with Store(tmp_path).writing("adapt", "k", {10: "b", 9: 1e-300}) as (_, facts):
        facts |= {"loss": float("nan"), "é": (1, 2), "10": None}
    path = tmp_path / "adapt" / "k" / "artifact.json"
    assert Store(tmp_path).facts("adapt", "k") is not None
    content = json.loads(path.read_text())
    del content["checksum"]
    path.write_text(json.dumps(content))
    assert Store(tmp_path).facts("adapt", "k") is not None


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ZeroDivisionError), store.writing("adapt", "k", {}) as (out, _):
        (out / "half").write_text("x")
        raise ZeroDivisionError
    assert store.facts("adapt", "k") is None
    assert list((tmp_path / "adapt").iterdir()) == []


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path)
    left = tmp_path / "adapt" / ".k.abc"
    left.mkdir(parents=True)
    put(store)
    assert not left.exists()


@pytest.mark.parametrize(
    "damage", ["change", "remove", "facts", "edited", "emptied", "described", "unwritten"]
)
def test_a_damaged_artifact_is_noticed_and_can_be_made_anew(tmp_path: Path, damage: str) -> None:
    folder = put(Store(tmp_path))
    if damage == "change":
        (folder / "sub" / "file.txt").write_text("contenT")
    elif damage == "remove":
        (folder / "sub" / "file.txt").unlink()
    else:
        path, content = folder / "artifact.json", json.loads((folder / "artifact.json").read_text())
        changed = {"facts": "", "edited": {"facts": {"value": 4}}, "emptied": {"facts": {}}}
        changed |= {"described": {"stage": {"title": "d"}}, "unwritten": {"files": {}}}
        path.write_text(json.dumps(content | changed[damage]) if damage != "facts" else "{")
    store = Store(tmp_path)
    said = r"sub/file.txt is missing or differs|artifact.json (is unreadable|differs from its checksum)"
    with pytest.raises(DamagedError, match=said):
        store.facts("adapt", "k")
    assert store.set_aside("adapt", "k") == tmp_path / "adapt" / ".damaged-k" and not folder.exists()
    put(store)
    assert Store(tmp_path).facts("adapt", "k") == {"value": 3}
    assert store.set_aside("adapt", "k") == tmp_path / "adapt" / ".damaged-k-1"


@pytest.mark.parametrize("linked", ["README.md", ""])
def test_an_artifact_with_a_link_is_refused(tmp_path: Path, linked: str) -> None:
    folder = put(Store(tmp_path / "store"))
    elsewhere = tmp_path / "elsewhere"
    if linked:
        (folder / linked).symlink_to(elsewhere)
    else:
        folder.rename(elsewhere)
        folder.symlink_to(elsewhere)
    store = Store(tmp_path / "store")
    with pytest.raises(DamagedError, match="holds a link"):
        store.facts("adapt", "k")
    store.set_aside("adapt", "k")
    assert store.facts("adapt", "k") is None and elsewhere.exists() != bool(linked)


def test_checkpoints_are_removed_once_the_artifact_stands(tmp_path: Path) -> None:
    store = Store(tmp_path)
    work = store.work("adapt", "k")
    (work / "checkpoint").write_text("x")
    put(store)
    assert not work.exists()


def test_a_run_folder_has_one_process(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from trilemma.study.store import locked
with locked(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="another process is running"), locked(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with locked(tmp_path):
        pass


def test_a_half_written_table_of_a_killed_run_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".records.parquet.4711").write_text("half")
    (tmp_path / "records.parquet").write_text("whole")
    with locked(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "records.parquet"]


def test_a_second_study_waits_for_a_stage_that_the_first_computes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    order: list[str] = []

    def second() -> None:
        with Store(tmp_path).computing("adapt", "k"):
            order.append("second")

    with store.computing("adapt", "k"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot write .*choose another folder"):
        Store(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match="cannot write"):
        write_text(tmp_path / "file" / "x.json", "{}")


def test_a_run_folder_that_takes_no_lock_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(StoreError, match="cannot write"), locked(tmp_path):
        pass
    with pytest.raises(StoreError, match="cannot write"), Store(tmp_path).computing("adapt", "k"):
        pass


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="disk is full"), store.writing("adapt", "k", {}):
        raise OSError(28, "No space left on device")
    assert store.facts("adapt", "k") is None
