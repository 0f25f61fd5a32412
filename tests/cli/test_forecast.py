"""``trilemma forecast`` and ``trilemma calibrate`` on the command line."""

import json
from pathlib import Path

import pytest
from transformers import BertConfig
from typer.testing import CliRunner

from trilemma.cli.main import app
from trilemma.errors import TrilemmaError
from trilemma.profile_result import Profile


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    if isinstance(result.exception, TrilemmaError):
        return 2, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_several_models_are_forecast_on_several_machines(tmp_path: Path) -> None:
    asked: list[str | Path] = [
        "--machines",
        "l4,t4",
        "--batch",
        "1,16",
        "--length",
        "128",
        "--out",
        tmp_path / "f.parquet",
    ]
    code, shown = run(
        "forecast", "gla:micro", "transformer-pp:micro", *asked, "--report", tmp_path / "f.html"
    )
    assert code == 0 and "Forecast of generation, 64 tokens generated" in shown
    assert (
        "TPOT" in shown and "description alone" in shown and "not forecast: the machine has no price" in shown
    )
    assert f"report: {tmp_path / 'f.html'}" in shown and f"profile: {tmp_path / 'f.parquet'}" in shown
    found = Profile.load(tmp_path / "f.parquet")
    assert set(found.records["machine"]) == {"l4", "t4"} and set(found.records["batch"]) == {1, 16}
    assert "Forecast of gla:micro" in (tmp_path / "f.html").read_text("utf-8")
    code, again = run("show", tmp_path / "f.parquet")
    assert code == 0 and shown.startswith(again)


def test_classification_is_forecast_as_json() -> None:
    code, shown = run("forecast", "gla:micro", "--machines", "l4", "--decode", "0", "--json")
    metrics = {(one["metric"], one["phase"]) for one in json.loads(shown)["records"]}
    assert code == 0 and ("latency_ms", "classify") in metrics and ("tpot_ms", "decode") not in metrics


def test_plans_and_precisions_that_are_impossible_are_named_beside_those_that_are_not() -> None:
    code, shown = run("forecast", "gla:micro", "--machines", "h100-sxm,l4", "--devices", "1,2x2")
    assert code == 0 and "tensor 2 x pipeline 2" in shown and "l4 has 1 device, the plan needs 4" in shown
    code, shown = run(
        *("forecast", "gla:micro", "matmul-free:micro", "--machines", "epyc-9654"),
        *("--precision", "float32,packed", "--length", "64"),
    )
    assert code == 0 and "gla:micro has no ternary weights to pack" in shown


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["gla:micro", "--machines", "l4", "--length", "-3"], "--length '-3' holds a number below 1"),
        (
            ["gla:micro", "--machines", "l4", "--length", "1,x"],
            "--length '1,x' is not a list of",
        ),
        (["gla:micro", "--machines", "l4", "--decode", "-1"], "generates 0 to"),
        (["gla:micro", "--machines", "l4", "--decode", "9" * 12], "generates 0 to"),
        (["gla:micro", "--machines", "l4", "--batch", "9" * 5000], "holds a number above"),
        (["gla:huge", "--machines", "l4"], "unknown size"),
        (["gla:micro", "--machines", "l5"], "did you mean l4"),
        (["gla:micro", "--machines", "l4,"], "is not a list of different names"),
        (["gla:micro", "--machines", "l4", "--precision", "int3"], "unknown precision"),
        (["gla:micro", "--machines", "l4", "--precision", "packed"], "no ternary weights"),
        (["gla:micro", "--machines", "t4", "--precision", "bfloat16"], "t4 "),
        (["gla:micro", "--machines", "l4", "--devices", "2"], "has 1 device, the plan needs 2"),
        (["gla:micro", "--machines", "l4", "--devices", "two"], "is not a number of devices"),
        (["gla:micro", "--machines", "h100-sxm", "--devices", "3"], "do not divide"),
        (["no-such-folder/at/all", "--machines", "l4"], "does not exist"),
        (["gla:micro", "--machines", "absent.json"], "not calibrated"),
        (["gla:micro", "--machines", "l4", "--out", "f.json"], "--out f.json is not a .parquet file"),
        (["gla:micro", "--machines", "l4", "--report", "absent/f.html"], "in a folder that exists"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: list[str], match: str) -> None:
    code, message = run("forecast", *arguments)
    assert code == 2 and match in message, message


def test_an_encoder_generates_nothing_and_a_model_keeps_to_its_positions(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=320, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    config.save_pretrained(tmp_path)
    on = ("--machines", "l4")
    code, message = run("forecast", tmp_path, *on)
    assert code == 2 and "generates nothing" in message
    code, message = run("forecast", tmp_path, *on, "--decode", "0", "--length", "513")
    assert code == 2 and "512 positions" in message
    assert run("forecast", tmp_path, *on, "--decode", "0")[0] == 0


def test_a_calibration_is_a_json_file() -> None:
    code, message = run("calibrate", "--out", "x.txt")
    assert code == 2 and "x.txt does not end in .json" in message
