"""The task that `trilemma attack` and `trilemma annotate` name: GLUE's, a plug-in's, the user's."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.stand_ins.tiny_models import save_bert
from trilemma.cli.main import app
from trilemma.errors import TrilemmaError
from trilemma.study import load_study
from trilemma.study.asked import find_task
from trilemma.study.runner import keep_study
from trilemma.tasks import TASKS, AdversarialExamples, Examples, Task

TWO = """
name: mine
models: [gla:nano]
tasks:
  - {name: channel, fields: message, label: kind, labels: [ask, buy, "no"], files: FILES}
  - sst2
""".replace("FILES", "{train: rows.csv, validation: rows.csv}")


def study_in(folder: Path, text: str = TWO) -> Path:
    rows = [f"word{i} and more,{('ask', 'buy', 'no')[i % 3]}" for i in range(30)]
    (folder / "rows.csv").write_text("\n".join(["message,kind", *rows]) + "\n")
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_model_is_attacked_on_a_task_of_the_users_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    study, out = study_in(tmp_path), tmp_path / "adv.parquet"
    folder = save_bert(tmp_path / "bert", num_labels=3)
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    keep_study(load_study(study), run / "study.json", print)
    row = {"model": "gla-nano", "task": "channel", "folder": str(folder)}
    (run / "checkpoints.json").write_text(json.dumps([row]))
    asked = ("--task", "channel", "--recipe", "deepwordbug", "--out", out, "--items", 12, "--budget", 30)
    by_file = invoke("attack", folder, "--study", study, *asked)
    assert "of 12 items were answered correctly" in by_file
    assert {"message", "original_message", "label"} <= set(pq.read_table(out).column_names)
    assert invoke("attack", "gla-nano", "--run", run, *asked) == by_file
    sheets, made = tmp_path / "sheets", tmp_path / "made.csv"
    made.write_text("message,label,idx,data_construction,method,original_message\nwrod,1,1,word,swap,word\n")
    assert "key.json" in invoke("annotate", "export", made, sheets, "--run", run, "--task", "channel")
    assert "ask / buy / no" in (sheets / "annotator-1.csv").read_text("utf-8-sig")


class Shouting:
    description = "generated"

    def load(self, task: Task, split: str) -> Examples:
        texts = [(f"{'HEY' if i % 2 else 'hey'} you {i}",) for i in range(10)]
        return Examples(task.name, split, [str(i) for i in range(10)], texts, [i % 2 for i in range(10)], "x")

    def adversarial(self, task: Task, name: str) -> list[AdversarialExamples]:
        return []


def test_the_data_of_a_plug_in_task_is_used(tmp_path: Path) -> None:
    task = Task("shouting", ("text",), ("calm", "loud"), ("accuracy",), data=Shouting())
    asked = ("--task", "shouting", "--recipe", "checklist", "--items", "10", "--budget", "5")
    with TASKS.holding({"shouting": task}):
        said = invoke("attack", save_bert(tmp_path / "bert"), *asked, "--out", tmp_path / "adv.parquet")
    assert "of 10 items were answered correctly" in said


def test_the_task_of_a_study_need_not_be_named_where_there_is_one(tmp_path: Path) -> None:
    one = study_in(tmp_path, TWO.replace("  - sst2\n", ""))
    assert find_task(None, study=one).name == "channel"
    two = study_in(tmp_path)
    for said, asked in (
        ("the tasks channel, sst2; name one", {"study": two}),
        ("no task 'chanel'; it has channel, sst2", {"name": "chanel", "study": two}),
        ("give one of them", {"study": two, "run": tmp_path}),
        ("study.json is absent or cannot be read; name the study's file", {"run": tmp_path}),
        ("name the task with --task", {}),
    ):
        with pytest.raises(TrilemmaError, match=said):
            find_task(**{"name": None, **asked})  # type: ignore[arg-type]
    assert find_task("sst2", study=two).data is not None
