"""Forecasts: exact bytes, monotone times, a machine recovered from its times, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    Gemma2Config,
    OPTConfig,
)
from typer.testing import CliRunner

from trilemma.cli.main import app
from trilemma.decision.deployments import Objective, choose, rejections
from trilemma.errors import DeployError, ModelError, TrilemmaError
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration, families
from trilemma.forecasting.candidates import candidate
from trilemma.forecasting.cases import Case, parts
from trilemma.forecasting.forecast import KEPT_FREE, Candidate, Plan, Workload, forecast, memory_for
from trilemma.forecasting.forecaster import Forecaster, Measured
from trilemma.forecasting.measuring import measure
from trilemma.forecasting.memory import BUFFERS
from trilemma.hardware.catalogue import Link, Machine, catalogue, find_machine, machines_in, read_machines
from trilemma.models.cache import state_bytes as kept_bytes
from trilemma.models.loading import describe
from trilemma.profiling.measurements.flops import count_flops
from trilemma.profiling.operations import forward, shape_of, state_bytes, weight_bytes
from trilemma.profiling.points import Point

MACHINE = Machine(
    name="box",
    kind="cpu",
    flops={"float32": 1e11, "bfloat16": 3e11, "packed": 5e11},
    bandwidth=3e10,
    memory=16e9,
    devices=4,
    link=Link(bandwidth=1e10),
    price=1.0,
    watts=100,
)
FAMILIES = families(64, 2, 320)


def case(name: str = "gla", phase: str = "prefill", batch: int = 2, length: int = 64) -> Case:
    subject = FAMILIES[name]
    return Case(subject.shape, subject.precision, phase, batch, length)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "packed"])
def test_bytes_of_weights_are_exact(name: str, precision: str) -> None:
    config = FAMILIES[name].config
    if precision == "packed" and name != "matmul-free":
        with pytest.raises(ModelError, match="only MatMul-Free"):
            weight_bytes(config, precision)
        return
    for classifier in (True,) if name == "bert" else (False, True):
        auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
        dtype = torch.float32 if precision == "packed" else getattr(torch, precision)
        model = auto.from_config(config, dtype=dtype)
        if precision == "packed":
            model.pack()
        assert weight_bytes(config, precision, classifier=classifier) == describe(model).weight_bytes


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "bert"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_of_the_state_are_exact(name: str, dtype: str) -> None:
    config = FAMILIES[name].config
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    for length in (1, 17):
        with torch.inference_mode():
            cache = model(torch.ones(3, length, dtype=torch.long), use_cache=True).past_key_values
        assert state_bytes(shape_of(config), 3, length, dtype) == kept_bytes(cache)


def test_a_window_holds_for_the_layers_that_have_it() -> None:
    config = Gemma2Config(num_hidden_layers=4, sliding_window=8, hidden_size=64, num_attention_heads=4)
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    shape = shape_of(config)
    assert (shape.window, shape.windowed) == (8, 2)
    whole = replace(shape, window=None, windowed=0)
    assert state_bytes(shape, 1, 8, "float32") == state_bytes(whole, 1, 8, "float32")
    assert state_bytes(shape, 1, 24, "float32") == state_bytes(whole, 1, 16, "float32")


def test_a_model_whose_embedding_is_narrower_is_refused() -> None:
    with pytest.raises(ModelError, match="whose embedding is not as wide as its layers"):
        shape_of(OPTConfig(hidden_size=64, word_embed_proj_dim=32))


@pytest.mark.parametrize("name", FAMILIES)
def test_operations_count_what_torch_counts(name: str) -> None:
    config = FAMILIES[name].config
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = torch.ones(1, 64, dtype=torch.long)
    counted = count_flops(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    work = forward(shape_of(config), 1, 64, 64, "float32", logits=0)
    assert sum(one.flops for one in work if one.kind != "scan") == pytest.approx(counted, rel=0.03)


@given(
    st.sampled_from([name for name in FAMILIES if name != "bert"]),
    st.sampled_from(["prefill", "decode"]),
    st.integers(1, 64),
    st.integers(1, 400),
)
@settings(deadline=None)
def test_times_without_measurements_grow_with_batch_and_length(
    name: str, phase: str, batch: int, length: int
) -> None:
    forecaster = Forecaster(MACHINE)
    here, longer, wider = forecaster.seconds(
        [
            case(name, phase, batch, length),
            case(name, phase, batch, length + 7),
            case(name, phase, batch + 4, length),
        ]
    )
    assert 0 < here.low < here.value < here.high
    assert longer.value >= here.value and wider.value >= here.value
    assert batch / here.value <= (batch + 4) / wider.value * (1 + 1e-9) or batch <= 4  # the compiled step


def simulated(seed: int, noise: float = 0.03) -> list[Measured]:
    """Times of a machine whose kernels reach other shares than the usual ones."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.6, 0.8, 2.0, 1.5, 3.0, 1.2, 0.9, 1.6, 0.7, 1.4, 0.5, 2.0])
    found = []
    for width in (64, 128, 192, 256, 320, 384):
        for layers in (2, 4):
            for subject in families(width, layers, 320).values():
                own = rng.normal(0, 0.05)  # what no term explains, and all points of a shape share
                for batch, length in ((1, 16), (1, 128), (4, 64), (16, 32)):
                    phases = ("prefill", "decode") if subject.generates else ("classify",)
                    for phase in phases:
                        one = Case(subject.shape, subject.precision, phase, batch, length)  # type: ignore[arg-type]
                        seconds = parts(one.operations(MACHINE), one.precision, MACHINE) @ shares
                        found.append(
                            Measured(one, float(seconds * np.exp(own + noise * rng.standard_normal())))
                        )
    return found


def test_a_machine_is_recovered_from_its_times_and_intervals_hold() -> None:
    times = simulated(0)
    left = [one for one in times if one.case.shape.width in (192, 320)]
    forecaster = Forecaster(MACHINE, [one for one in times if one not in left])
    found = forecaster.seconds([one.case for one in left])
    errors = [abs(a.value / b.seconds - 1) for a, b in zip(found, left, strict=True)]
    assert np.median(errors) < 0.07
    held = np.mean([a.low <= b.seconds <= a.high for a, b in zip(found, left, strict=True)])
    assert 0.8 <= held <= 0.99
    analytic = Forecaster(MACHINE).seconds([one.case for one in left])
    assert np.median([abs(a.value / b.seconds - 1) for a, b in zip(analytic, left, strict=True)]) > 0.1


def test_a_family_that_was_never_run_is_forecast_with_a_wider_interval() -> None:
    times = simulated(1)
    kept = [one for one in times if one.case.shape.family != "gla"]
    left = [one for one in times if one.case.shape.family == "gla" and one.case.phase == "prefill"]
    unseen = Forecaster(MACHINE, kept).seconds([one.case for one in left])
    seen = Forecaster(MACHINE, times).seconds([one.case for one in left])
    assert np.median([abs(a.value / b.seconds - 1) for a, b in zip(unseen, left, strict=True)]) < 0.3
    assert np.mean([a.high / a.low for a in unseen]) > np.mean([a.high / a.low for a in seen])


def test_a_workload_adds_up_and_parallel_plans_share_weights() -> None:
    chosen = candidate("transformer-pp:micro", MACHINE)
    work = Workload(4, 128, 64)
    forecaster = Forecaster(MACHINE)
    one, two, deep = (forecast(chosen, forecaster, work, plan) for plan in (Plan(), Plan(2), Plan(1, 2)))
    assert one.tpot is not None and two.tpot is not None and deep.tpot is not None
    assert one.batch_latency.value == pytest.approx(one.ttft.value + 63 * one.tpot.value)
    assert one.throughput.value == pytest.approx(4 / one.batch_latency.value)
    assert one.memory.weights == chosen.weights
    # The last token is chosen, but not fed back.
    assert one.memory.state == state_bytes(chosen.shape, 4, 191, "float32")
    assert two.memory.weights == deep.memory.weights == one.memory.weights / 2
    assert two.memory.state == one.memory.state / 2
    assert deep.memory.state == one.memory.state  # of half the layers, but of two batches
    assert one.ttft.value / 2 < two.ttft.value < one.ttft.value < deep.ttft.value
    assert one.basis == "description"


def test_activations_are_what_is_alive_in_an_mlp() -> None:
    # Four tensors of the stream (three in an encoder) and gate, value and product (or hidden layer, twice).
    gla = candidate("gla:small", MACHINE)  # 512 wide, MLP 1,280 wide
    held = memory_for(gla, Workload(2, 1024, 8)).activations
    assert held == 4 * 2 * 1024 * (4 * 512 + 3 * 1280) + 4 * 512 * 1280 + BUFFERS
    bert = Candidate("bert", shape_of(BertConfig(hidden_size=512, intermediate_size=2048)), "float32", 1.0)
    held = memory_for(bert, Workload(16, 256, 0)).activations
    assert held == 4 * 16 * 256 * (3 * 512 + 2 * 2048) + 4 * 512 * 2048 + BUFFERS


def test_room_for_keys_to_come_is_resident_in_large_tensors_alone() -> None:
    chosen = candidate("transformer-pp:small", MACHINE)
    assert memory_for(chosen, Workload(1, 512, 8)).room == 0  # 768 places of 2 KiB are less than a page
    eighth = chosen.shape.layers * 2 * 1024 * 512 * 4
    assert 0.8 * eighth < memory_for(chosen, Workload(1, 8192, 8)).room < eighth  # 1,024 places more
    assert memory_for(candidate("gla:small", MACHINE), Workload(1, 8192, 8)).room == 0
    windowed = replace(chosen, shape=replace(chosen.shape, window=64, windowed=chosen.shape.layers))
    assert memory_for(windowed, Workload(1, 8192, 8)).room == 0


def test_devices_share_the_room_as_they_share_the_state() -> None:
    chosen = candidate("transformer-pp:small", MACHINE)
    whole = memory_for(chosen, Workload(8, 8192, 8))
    part = whole.divided(4, 1, 8)
    assert (part.state, part.room, part.activations) == (whole.state / 4, whole.room / 4, whole.activations)


def test_what_does_not_fit_or_is_too_slow_is_never_recommended() -> None:
    small = MACHINE.model_copy(update={"memory": 40e6, "name": "small"})
    chosen = candidate("transformer-pp:micro", MACHINE)
    pairs = [(chosen, Forecaster(machine)) for machine in (MACHINE, small)]
    work = Workload(1, 512, 64)
    everything = choose(pairs, work, Objective(), plans=[Plan(), Plan(2)])
    for one in everything:
        assert one.forecast is not None
        room = (MACHINE if one.machine == "box" else small).memory * (1 - KEPT_FREE)
        assert bool(one.reasons) == (one.forecast.memory.peak > room)
    kept = [one for one in everything if not one.reasons]
    rates = [one.forecast.throughput.value / one.plan.devices for one in kept if one.forecast]
    assert rates == sorted(rates, reverse=True)
    fastest = min(one.forecast.ttft.value for one in kept if one.forecast and one.plan.devices == 1)
    bound = choose(pairs, work, Objective(ttft=fastest * 1.01))
    assert {one.batch for one in bound if not one.reasons} == {1}
    assert all("over" in one.reasons[-1] or "needs" in one.reasons[0] for one in bound if one.reasons)
    assert sum(count for count, _, _ in rejections(bound).values()) >= 3
    dear = choose(pairs, work, Objective(cost=1e-9))
    assert all(one.reasons for one in dear)
    cheapest = choose(pairs, work, Objective(), aim="cost")
    costs = [one.cost for one in cheapest if not one.reasons and one.cost is not None]
    assert costs == sorted(costs)
    free = [(chosen, Forecaster(MACHINE.model_copy(update={"price": None, "watts": None})))]
    for aim, match in (("cost", "price"), ("energy", "watts")):
        with pytest.raises(DeployError, match=match):
            choose(free, work, Objective(), aim=aim)  # type: ignore[arg-type]


def test_the_catalogue_is_whole_and_names_its_sources() -> None:
    for machine in catalogue().values():
        assert machine.sources and machine.watts and machine.price is None
        assert all(machine.rate(precision) > 0 for precision in machine.flops)
        assert machine.multiplies("packed") and machine.rate("packed") == machine.flops["int8"]
    with pytest.raises(DeployError, match="t4 multiplies no bfloat16"):
        catalogue()["t4"].rate("bfloat16")
    assert candidate("gla:micro", catalogue()["t4"]).precision == "float16"
    with pytest.raises(DeployError, match="did you mean h100-sxm"):
        find_machine("h100-smx")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no list of machines"),
        ("- 3", "entry 1 is no machine"),
        ("- {name: a, kind: cpu, flops: {float32: 1e9}, bandwidth: 1e9, memory: 1e9, ram: 3}", "ram: is no"),
        ("- {name: a, kind: cpu, flops: {float32: 1e9}, bandwidth: -1, memory: 1e9}", "bandwidth"),
        ("- {name: a, kind: cpu, flops: {float32: .inf}, bandwidth: 1e9, memory: 1e9}", "finite"),
        ("- {name: a, kind: cpu, flops: {float32: -1}, bandwidth: 1e9, memory: 1e9}", "positive"),
        ("- {name: a, kind: tpu, flops: {float32: 1e9}, bandwidth: 1e9, memory: 1e9}", "kind"),
        ("- {name: a, like: nothing}", "catalogue lacks"),
        ("- {name: a, like: [t4]}", "catalogue lacks"),
        ("- {name: a, like: t4}\n- {name: a, like: l4}", "two machines"),
        ("[" * 5000, "no YAML"),
        ("- {name: a, like: t4, launch: .inf}", "launch"),
        ("- {name: a, like: t4, price: .nan}", "price"),
        ("- {name: 2020-99-99}", "no YAML"),
    ],
)
def test_a_bad_file_of_machines_gets_one_sentence(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "machines.yaml").write_text(text)
    with pytest.raises(DeployError, match=match):
        read_machines(tmp_path / "machines.yaml")


def test_machines_of_ones_own_change_the_catalogues(tmp_path: Path) -> None:
    (tmp_path / "machines.yaml").write_text("- {name: rented, like: l4, price: 0.8}\n")
    [machine] = read_machines(tmp_path / "machines.yaml")
    assert machine == catalogue()["l4"].model_copy(update={"name": "rented", "price": 0.8})


def small_calibration() -> Calibration:
    points = [Point(1, 4), Point(2, 8), Point(3, 4), Point(1, 12)]
    subjects = [one for width in (32, 64) for one in families(width, 1, 320).values()]
    times = measure(subjects, points, decode=3, seconds=0.0)
    return Calibration(MACHINE, "this one", tuple(times), ())


def test_a_calibration_comes_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    known = small_calibration()
    assert {one.case.phase for one in known.measured} == {"classify", "prefill", "decode"}
    path = tmp_path / "calibration.json"
    calibration.write(known, path)
    assert calibration.read(path) == known
    seconds = calibration.forecaster(known).seconds([case("gla"), case("gla", "decode")])
    assert all(0 < one.low < one.value < one.high for one in seconds)
    good = json.loads(path.read_text())
    for content in ("", "[]", "{}", json.dumps(good | {"version": 7}), json.dumps(good | {"measured": 1})):
        path.write_text(content)
        with pytest.raises(DeployError, match="trilemma calibrate"):
            calibration.read(path)
    with pytest.raises(DeployError, match="not calibrated"):
        calibration.read(tmp_path / "absent.json")
    with pytest.raises(DeployError, match="no positive number"):
        Forecaster(MACHINE, [Measured(case(), float("nan"))])


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    if isinstance(result.exception, TrilemmaError):
        return 2, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_the_commands_forecast_and_decide(tmp_path: Path) -> None:
    code, shown = run("forecast", "gla:micro", "--on", "l4", "--batch", "1,16", "--length", "128")
    assert code == 0 and "TPOT, ms" in shown and "description alone" in shown
    code, shown = run("forecast", "gla:micro", "--on", "l4", "--decode", "0", "--json")
    assert code == 0 and json.loads(shown)["forecasts"][0]["tpot"] is None
    machines = tmp_path / "machines.yaml"
    machines.write_text("- {name: rented, like: l4, price: 0.8}\n- {name: old, like: t4, price: 0.3}\n")
    asked = ["decide", "--models", "gla:micro,matmul-free:micro", "--machines", str(machines)]
    code, shown = run(*asked, "--slo", "ttft=200ms,tpot=40ms", "--max-cost", "1000", "--aim", "cost")
    assert code == 0 and "rented" in shown and "cost of" in shown
    code, shown = run(*asked, "--slo", "tpot=1us")
    assert code == 1 and "time a further token over the bound" in shown
    code, shown = run(*asked, "--json")
    rows = json.loads(shown)
    assert len(rows) == 2 * 2 * 4 and all("reasons" in row for row in rows)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["forecast", "gla:micro", "--on", "l4", "--length", "-3"], "positive whole numbers"),
        (["forecast", "gla:micro", "--on", "l4", "--decode", "-1"], "at least one sequence"),
        (["forecast", "gla:huge", "--on", "l4"], "unknown size"),
        (["forecast", "gla:micro", "--on", "l5"], "did you mean l4"),
        (["forecast", "gla:micro", "--on", "l4", "--precision", "int3"], "unknown precision"),
        (["forecast", "gla:micro", "--on", "l4", "--precision", "packed"], "no ternary weights"),
        (["forecast", "gla:micro", "--on", "l4", "--tensor", "2"], "has 1 devices"),
        (["forecast", "gla:micro", "--on", "h100-sxm", "--tensor", "3"], "do not divide"),
        (["forecast", "no-such-folder/at/all", "--on", "l4"], "does not exist"),
        (["decide", "--models", "gla:micro", "--machines", "l4", "--slo", "ttft=soon"], "no bound"),
        (["decide", "--models", "gla:micro", "--machines", "l4", "--workload", "poetry"], "is not chat"),
        (["decide", "--models", "gla:micro", "--machines", "l4", "--max-cost", "1"], "price"),
        (["decide", "--models", ",", "--machines", "l4"], "names nothing"),
        (["decide"], "name a run folder"),
        (["forecast", "gla:micro", "--on", "l4", "--batch", "9" * 5000], "positive whole numbers"),
        (["forecast", "gla:micro", "--on", "l4", "--decode", "9" * 12], "at most ten million"),
        (["forecast", "gla:micro", "--on", "t4", "--precision", "bfloat16"], "multiplies no bfloat16"),
        (["forecast", "gla:micro", "--on", "absent.json"], "not calibrated"),
        (["calibrate", "--out", "x.txt"], "no .json file"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: list[str], match: str) -> None:
    code, message = run(*arguments)
    assert code == 2 and match in message, message


def test_an_encoder_generates_nothing_and_a_model_keeps_to_its_positions(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=320, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    config.save_pretrained(tmp_path)
    code, message = run("forecast", str(tmp_path), "--on", "l4")
    assert code == 2 and "generates nothing" in message
    code, message = run("forecast", str(tmp_path), "--on", "l4", "--decode", "0", "--length", "513")
    assert code == 2 and "512 positions" in message
    assert run("forecast", str(tmp_path), "--on", "l4", "--decode", "0")[0] == 0
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    code, message = run("forecast", str(tmp_path), "--on", "l4", "--decode", "0")
    assert code == 2 and "are not known" in message
    assert isinstance(AutoConfig.for_model("mamba").model_type, str)


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": -1},
        {"num_attention_heads": 0},
        {"hidden_act": "nothing"},
        {"vocab_size": -5},
        {"hidden_size": None},
        {"intermediate_size": 1.5},
        {"vocab_size": 10**30},
        {"pad_token_id": 10**6},
    ],
)
def test_a_configuration_from_a_stranger_is_refused_in_one_sentence(
    tmp_path: Path, change: dict[str, object]
) -> None:
    config = {"model_type": "bert", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    code, message = run("forecast", str(tmp_path), "--on", "l4", "--decode", "0")
    assert code == 2 and "configuration" in message


def test_a_case_of_a_described_candidate_is_its_own() -> None:
    chosen = Candidate("x", FAMILIES["gla"].shape, "float32", 1e6)
    with pytest.raises(DeployError, match="at least one sequence"):
        Workload(0, 1, 1)
    with pytest.raises(DeployError, match="no `link`"):
        lonely = MACHINE.model_copy(update={"link": None})
        forecast(chosen, Forecaster(lonely), Workload(1, 8, 2), Plan(2))
    with pytest.raises(ModelError, match="unknown precision"):
        forward(chosen.shape, 1, 1, 1, "int4")
    with pytest.raises(ModelError, match="at least one sequence"):
        forward(chosen.shape, 1, 4, 2, "float32")


def test_the_deployment_that_came_nearest_is_named() -> None:
    chosen = candidate("transformer-pp:micro", MACHINE)
    found = choose([(chosen, Forecaster(MACHINE))], Workload(1, 64, 8), Objective(ttft=1e-9), batches=(4, 1))
    ((kind, (count, nearest, reason)),) = rejections(found).items()
    assert kind == "time to the first token over the bound" and count == 2
    assert nearest.batch == 1 and reason.startswith("time to the first token")


def test_this_machine_may_be_given_a_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "- name: priced\n  like: here\n  price: 2\n- name: faster\n  like: here\n  bandwidth: 9.0e12\n"
    )
    known = Calibration(MACHINE, "f", tuple(simulated(1)), ())
    monkeypatch.setattr(calibration, "here", lambda: known)
    priced, faster = machines_in(str(file), lambda: MACHINE)
    assert (priced.price, priced.bandwidth) == (2, MACHINE.bandwidth)
    assert calibration.forecaster_like_here(priced).measured("prefill")
    assert not calibration.forecaster_like_here(faster).measured("prefill")
    assert find_machine(f"{file}:faster", lambda: MACHINE) == faster
    with pytest.raises(
        DeployError, match=r"lists 2 machines; name the one that is meant: .*mine.yaml:priced"
    ):
        find_machine(str(file), lambda: MACHINE)
    with pytest.raises(DeployError, match="has no machine 'other'; it has priced, faster"):
        find_machine(f"{file}:other", lambda: MACHINE)


def test_a_misspelt_field_is_guessed(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("- name: one\n  like: l4\n  prise: 2\n")
    with pytest.raises(
        DeployError, match=r"prise: is no field of a machine; did you mean price\? fields: like"
    ):
        read_machines(file)
