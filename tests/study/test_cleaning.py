"""What `trilemma store clean` lists and deletes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from trilemma.cli.main import app
from trilemma.errors import StoreError
from trilemma.study.cleaning import keep_needed, unneeded
from trilemma.study.stages.tokenizer import Tokenizer
from trilemma.study.store import Store

OLD, NEW, AWAY = (Tokenizer(title=f"of {size} tokens", vocabulary=size) for size in (300, 400, 500))


def run_folder(path: Path, *stages: Tokenizer) -> Path:
    path.mkdir(parents=True)
    (path / "study.json").write_text("{}")
    keep_needed(path, stages)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "runs" / ".store"
    for stage in (OLD, NEW, AWAY):
        with Store(root).writing(stage.kind, stage.key, {"title": stage.title}) as (out, _):
            (out / "tokenizer.json").write_text("x" * 1000)
    Store(root).work(NEW.kind, NEW.key)
    Store(root).work("adapt", "gone")
    return root


def test_what_no_run_rests_on_is_listed_and_then_deleted(store: Path, tmp_path: Path) -> None:
    run_folder(tmp_path / "runs" / "mine", NEW)
    away = run_folder(tmp_path / "elsewhere", AWAY)
    command = ["store", "clean", str(store), "--run", str(away)]
    listed = CliRunner().invoke(app, command)
    assert listed.exit_code == 0 and "tokenizer of 300 tokens" in listed.output.replace("\n", "")
    assert "unfinished work" in listed.output.replace("\n", "") and "--yes" in listed.output
    assert (store / "tokenizer" / OLD.key).is_dir()
    assert CliRunner().invoke(app, [*command, "--yes"]).exit_code == 0
    assert {path.name for path in (store / "tokenizer").iterdir()} == {NEW.key, AWAY.key}
    assert [path.name for path in (store / "work").iterdir()] == [f"tokenizer-{NEW.key}"]
    assert "nothing is left over" in CliRunner().invoke(app, command).output


def test_a_store_is_not_emptied_by_mistake(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run folder is beside"):
        unneeded(store)
    with pytest.raises(StoreError, match="is not a store"):
        unneeded(tmp_path)
    run = run_folder(tmp_path / "runs" / "old")
    (run / "artifacts.json").unlink()
    with pytest.raises(StoreError, match="run its study again"):
        unneeded(store)


def test_what_is_being_written_stays(store: Path, tmp_path: Path) -> None:
    run_folder(tmp_path / "runs" / "mine", OLD, NEW, AWAY)
    (store / "tokenizer" / f".{NEW.key}.123").mkdir()
    (store / "tokenizer" / f".damaged-{NEW.key}").mkdir()
    assert [one.path.name for one in unneeded(store) if one.path.parent.name != "work"] == [
        f".damaged-{NEW.key}"
    ]
