import io
import json
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.stand_ins.synthetic import frames, tables, write_run
from trilemma.cli.main import app
from trilemma.errors import StoreError, TrilemmaError
from trilemma.profile_result import Profile
from trilemma.result import Result


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return Result.load(write_run(tmp_path_factory.mktemp("run"), seeds=(0,), adversarial=60, clean=80))


def test_tables_are_pandas(result: Result) -> None:
    assert {"model", "metric", "value"} <= set(result.records.columns)
    assert result.items["shown"].iloc[0][0]
    assert "gla-nano" in repr(result)


def test_every_question_has_an_answer(result: Result, tmp_path: Path) -> None:
    assert set(result.table("robustness", by="level")["level"]) >= {"word", "sentence", "human"}
    assert len(result.pareto(["latency_ms", "accuracy", "robust_accuracy"])) == 3
    assert result.decide(max_memory="8GB", min_clean=0.5, min_robust=None, best="robust_accuracy").choice
    compared = result.compare("gla-nano", "transformer-pp-nano", metric="robust_accuracy")
    assert set(compared["verdict"]) <= {"a better", "b better", "not distinguishable"}
    assert result.verdict().headline
    report = result.report(tmp_path / "report.html", title="my study")
    assert "<title>my study · trilemma</title>" in report.read_text(encoding="utf-8")


def test_the_operating_point_can_be_chosen(result: Result) -> None:
    short, long = (
        result.table("efficiency", at=at)["latency_ms"].iloc[0] for at in ("length=32", "length=2048")
    )
    assert long > short
    fast = result.decide(best="latency_ms", at="batch=1,length=2048")
    assert fast.choice == "gla-nano"


def test_tables_are_shown_and_rendered(result: Result) -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    result.show(console)
    shown = console.export_text()
    assert "Efficiency at batch 1, length 128" in shown and "Robustness by level" not in shown
    result.show(console, table="robustness")
    assert "Robustness by level" in console.export_text()
    assert len(json.loads(result.render("json"))) == 3
    assert "gla-nano" in result.render("csv", table="robustness", by="method")


def test_a_verdict_shows_itself_in_a_notebook(result: Result) -> None:
    verdict = result.verdict()
    shown = verdict._repr_html_()
    assert shown.startswith("<p>") and "Caution:" in shown and "Verdict(" not in shown
    assert shown.count("<p>") == sum(map(bool, verdict.text().splitlines()))


def test_csv_is_one_file_per_table(result: Result, tmp_path: Path) -> None:
    with pytest.raises(TrilemmaError, match="holds one table, and these are 3"):
        result.render("csv")
    paths = result.write_csv(tmp_path / "tables")
    assert [path.name for path in paths] == ["efficiency.csv", "performance.csv", "robustness.csv"]
    for path in paths:
        read, table = pd.read_csv(path), result.table(path.stem)
        assert list(read.columns) == list(table.columns) and len(read) == len(table)
    [one] = result.write_csv(tmp_path, table="robustness", by="method")
    assert one.name == "robustness.csv" and "method" in pd.read_csv(one).columns


def test_unknown_names_are_one_sentence(result: Result, tmp_path: Path) -> None:
    with pytest.raises(TrilemmaError, match="no candidate is called 'bert'"):
        result.compare("bert", "gla-nano")
    clean = Result(result.records, result.items[result.items["level"] == "clean"])
    with pytest.raises(TrilemmaError, match="nothing to compute robust_accuracy from"):
        clean.compare("transformer-pp-nano", "gla-nano")
    with pytest.raises(TrilemmaError, match="cannot be compared with itself"):
        result.compare("gla-nano", "gla-nano")
    with pytest.raises(TrilemmaError, match="nothing was measured at batch 3"):
        result.show(Console(file=io.StringIO()), at="batch=3")
    with pytest.raises(TrilemmaError, match="batch=1,length=128"):
        result.decide(at="everywhere")
    with pytest.raises(StoreError, match="does not exist"):
        Result.load(tmp_path)


def test_the_verdict_stands_under_the_summary(result: Result) -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    result.show(console, at="length=512")
    shown = console.export_text()
    assert "Efficiency at batch 1, length 512" in shown
    assert result.verdict("length=512").summary() in shown and "Caution: " in shown


def test_the_report_makes_its_folder_and_is_html(result: Result, tmp_path: Path) -> None:
    assert result.report(tmp_path / "a" / "b" / "c.html").exists()
    with pytest.raises(TrilemmaError, match=r"does not end in \.html"):
        result.report(tmp_path / "report.pdf")


def test_hostile_tables_are_shown_and_reported(result: Result, tmp_path: Path) -> None:
    records, items = result.records.copy(), result.items.copy()
    records.loc[records["metric"] == "parameters", "note"] = None
    records.loc[records["metric"] == "throughput_tokens_per_s", "high"] = float("inf")
    records.loc[records["metric"] == "ttft_ms", "value"] = float("inf")
    items.loc[items["model"] == "gla-nano", "answer"] = float("inf")
    for table in (records, items):
        table["model"] = table["model"].replace("gla-nano", "gla\x1b]0;owned\x07-nano")
    hostile = Result(records, items)
    text = io.StringIO()
    hostile.show(Console(width=200, file=text))
    hostile.show(Console(width=200, file=text), table="efficiency")
    assert not {"\x1b", "\x07"} & set(
        text.getvalue() + hostile.render("csv", table="performance") + str(hostile.decide())
    )
    page = hostile.report(tmp_path / "hostile.html").read_text(encoding="utf-8")
    assert (
        "Infinity" not in page[page.index('id="data">') : page.index("</script>", page.index('id="data">'))]
    )
    assert "not finite" in "".join(hostile.verdict().cautions)


def test_the_command_line_says_its_choices_and_by_its_exit_code_whether_one_qualifies(tmp_path: Path) -> None:
    from trilemma.analysis.item_metrics import ITEM_METRICS
    from trilemma.cli import main
    from trilemma.cli.compare import COMPARED

    assert list(COMPARED) == list(ITEM_METRICS)
    run = str(write_run(tmp_path / "run", models=2, seeds=(0,), adversarial=40, clean=60))
    runner = CliRunner(env={"COLUMNS": "200"})
    assert "peak_memory_bytes" in runner.invoke(main.app, ["decide", "--help"]).output
    assert (
        runner.invoke(main.app, ["decide", run, "--max-latency", "0.2s", "--min-clean", "50%"]).exit_code == 0
    )
    assert runner.invoke(main.app, ["decide", run, "--max-latency", "0.1ms"]).exit_code == 1
    by_name = ["--max", "latency=0.1ms", "--min", "robust_accuracy=10%"]
    assert runner.invoke(main.app, ["decide", run, *by_name]).exit_code == 1
    for wrong in (["--max", "latency"], ["--max-memory", "1GB", "--max", "memory=2GB"], ["--batch", "4"]):
        assert isinstance(runner.invoke(main.app, ["decide", run, *wrong]).exception, TrilemmaError)
    assert "--aim" in runner.invoke(main.app, ["decide", run, "--aim", "cost"]).output


def test_a_notebook_shows_the_summary_the_verdict_and_the_cautions(result: Result) -> None:
    evil = "<script>alert(1)</script>"
    records, items = (
        t.assign(model=t["model"].replace("gla-nano", evil)) for t in (result.records, result.items)
    )
    page = Result(records, items)._repr_html_()
    assert page.count("<table>") == 2 and "Caution: " in page and "Efficiency at batch 1, length 128" in page
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "empty" in Result(result.records.iloc[:0], result.items.iloc[:0])._repr_html_()


def test_a_run_without_records_is_one_sentence(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", models=2, seeds=(0,))
    table = pq.read_table(run / "records.parquet")
    pq.write_table(table.slice(0, 0), run / "records.parquet")
    with pytest.raises(StoreError, match="holds no records"):
        Result.load(run)


def test_files_in_each_others_place_are_called_what_they_are(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", models=2, seeds=(0,))
    for name in ("records", "items"):
        done = CliRunner().invoke(app, ["show", str(run / f"{name}.parquet")])
        assert isinstance(done.exception, TrilemmaError)
        assert "a table of a study" in str(done.exception) and f"trilemma show {run}" in str(done.exception)
    with pytest.raises(StoreError, match="a table of a study; name its run folder"):
        Result.load(run / "records.parquet")


@pytest.mark.parametrize(
    "option", ["--table=efficiency", "--by=length", "--at=batch=1,length=8", "--format=zzz"]
)
def test_options_of_tables_are_refused_for_a_profile(tmp_path: Path, option: str) -> None:
    records, _ = tables(models=1, seeds=(0,))
    profile = Profile(records.filter(pc.equal(records["axis"], "E"))).save(tmp_path / "p.parquet")
    done = CliRunner().invoke(app, ["show", str(profile), option])
    assert isinstance(done.exception, TrilemmaError) and option.split("=")[0] in str(done.exception)


def test_a_run_is_read_without_its_texts_until_they_are_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", clean=40, adversarial=30)
    read, whole = Result.load(run), Result(*frames(clean=40, adversarial=30))
    compared = [one.compare("gla-nano", "transformer-pp-nano") for one in (read, whole)]
    pd.testing.assert_frame_equal(*compared)
    assert read.verdict().text() == whole.verdict().text() and repr(read) == repr(whole)
    assert "items" not in vars(read)
    assert list(read.items.columns) == list(whole.items.columns) and len(read.items) == len(whole.items)
