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
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    Gemma2Config,
    OPTConfig,
)

from trilemma.errors import DeployError, ModelError, TrilemmaError
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration, families
from trilemma.forecasting.forecaster import TOO_WIDE, Forecaster, Measured
from trilemma.forecasting.forecasts import forecast
from trilemma.forecasting.machines import forecasters
from trilemma.forecasting.memory import BUFFERS, UNCHECKED, memory_of
from trilemma.forecasting.models import ForecastModel
from trilemma.forecasting.passes import ForwardPass, parts
from trilemma.forecasting.plan import ParallelPlan
from trilemma.hardware.catalogue import catalogue, find_machine
from trilemma.hardware.machine import Link, Machine
from trilemma.models.cache import state_bytes as kept_bytes
from trilemma.models.loading import describe
from trilemma.models.sizes import configuration
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.measurements.flops import count_flops
from trilemma.profiling.operations import dimensions_of, forward, state_bytes, weight_bytes
from trilemma.records import BY_DESCRIPTION, Record

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
UNCALIBRATED = Calibration(MACHINE.model_copy(update={"memory": 1.0}), "another machine", (), ())
"""A calibration that no machine here is like."""


def one_pass(name: str = "gla", phase: str = "prefill", batch: int = 2, length: int = 64) -> ForwardPass:
    subject = FAMILIES[name]
    return ForwardPass(subject.shape, subject.precision, phase, batch, length)  # type: ignore[arg-type]


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
        assert state_bytes(dimensions_of(config), 3, length, dtype) == kept_bytes(cache)


def test_a_window_holds_for_the_layers_that_have_it() -> None:
    config = Gemma2Config(num_hidden_layers=4, sliding_window=8, hidden_size=64, num_attention_heads=4)
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    shape = dimensions_of(config)
    assert (shape.window, shape.windowed) == (8, 2)
    whole = replace(shape, window=None, windowed=0)
    assert state_bytes(shape, 1, 7, "float32") == state_bytes(whole, 1, 7, "float32")
    # Two layers keep all 24 tokens, two the 7 that a next token sees beside itself.
    assert 2 * state_bytes(shape, 1, 24, "float32") == state_bytes(whole, 1, 24 + 7, "float32")


def test_a_model_whose_embedding_is_narrower_is_refused() -> None:
    with pytest.raises(ModelError, match="whose embedding is not as wide as its layers"):
        dimensions_of(OPTConfig(hidden_size=64, word_embed_proj_dim=32))


@pytest.mark.parametrize("name", FAMILIES)
def test_operations_count_what_torch_counts(name: str) -> None:
    config = FAMILIES[name].config
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = torch.ones(1, 64, dtype=torch.long)
    counted, _ = count_flops(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    work = forward(dimensions_of(config), 1, 64, 64, "float32", logits=0)
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
            one_pass(name, phase, batch, length),
            one_pass(name, phase, batch, length + 7),
            one_pass(name, phase, batch + 4, length),
        ]
    )
    assert here.value > 0 and np.isnan([here.low, here.high]).all()  # of which nothing is known
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
                        one = ForwardPass(subject.shape, subject.precision, phase, batch, length)  # type: ignore[arg-type]
                        seconds = parts(one.operations(MACHINE), one.precision, MACHINE) @ shares
                        found.append(
                            Measured(one, float(seconds * np.exp(own + noise * rng.standard_normal())))
                        )
    return found


@pytest.mark.slow
def test_a_machine_is_recovered_from_its_times_and_intervals_hold() -> None:
    times = simulated(0)
    left = [one for one in times if one.work.dimensions.width in (192, 320)]
    forecaster = Forecaster(MACHINE, [one for one in times if one not in left])
    found = forecaster.seconds([one.work for one in left])
    errors = [abs(a.value / b.seconds - 1) for a, b in zip(found, left, strict=True)]
    assert np.median(errors) < 0.07
    held = np.mean([a.low <= b.seconds <= a.high for a, b in zip(found, left, strict=True)])
    assert 0.8 <= held <= 0.99
    analytic = Forecaster(MACHINE).seconds([one.work for one in left])
    assert np.median([abs(a.value / b.seconds - 1) for a, b in zip(analytic, left, strict=True)]) > 0.1


@pytest.mark.slow
def test_a_family_that_was_never_run_is_forecast_with_a_wider_interval() -> None:
    times = simulated(1)
    kept = [one for one in times if one.work.dimensions.family != "gla"]
    left = [one for one in times if one.work.dimensions.family == "gla" and one.work.phase == "prefill"]
    unseen = Forecaster(MACHINE, kept).seconds([one.work for one in left])
    seen = Forecaster(MACHINE, times).seconds([one.work for one in left])
    assert np.median([abs(a.value / b.seconds - 1) for a, b in zip(unseen, left, strict=True)]) < 0.3
    assert np.mean([a.high / a.low for a in unseen]) > np.mean([a.high / a.low for a in seen])


def values(records: list[Record]) -> dict[tuple[str, str], float | None]:
    """Value by metric and phase, of the records of one case."""
    return {(one.metric, one.phase): one.value for one in records}


def test_a_forecast_adds_up_and_parallel_plans_share_weights() -> None:
    model, point = ForecastModel.find("transformer-pp:micro"), OperatingPoint(4, 128, 64)
    plans = (ParallelPlan(), ParallelPlan(2), ParallelPlan(1, 2))
    found = forecast([model], [MACHINE], [point], plans=plans, calibration=UNCALIBRATED)
    one, two, deep = (
        values([record for record in found if record.plan == name]) for name in ("", "tensor 2", "pipeline 2")
    )
    first, further, whole = one["ttft_ms", "prefill"], one["tpot_ms", "decode"], one["latency_ms", "generate"]
    assert first and further and whole == pytest.approx(first + 63 * further)
    assert one["latency_ms", "decode"] == pytest.approx(63 * further)
    assert one["examples_per_s", "generate"] == pytest.approx(4e3 / whole)
    assert one["throughput_tokens_per_s", "decode"] == pytest.approx(4e3 / further)
    assert one["throughput_tokens_per_s", "generate"] == pytest.approx(4e3 * (128 + 64) / whole)
    assert one["cost_per_million", "generate"] == pytest.approx(whole / 1e3 / 4 * 1e6 / 3600)
    assert one["energy_j_per_example", "generate"] == pytest.approx(100 * whole / 1e3 / 4)
    weights, state = one["weight_bytes", ""], one["state_bytes", "generate"]
    assert weights == model.weight_bytes("float32")
    # The last token is chosen, but not fed back.
    assert state == state_bytes(model.dimensions, 4, 191, "float32")
    left = one["peak_memory_bytes", "generate"] - weights - state  # type: ignore[operator]
    assert one["activation_bytes", "generate"] == pytest.approx(left)
    assert two["weight_bytes", ""] == deep["weight_bytes", ""] == weights / 2  # type: ignore[operator]
    assert two["state_bytes", "generate"] == state / 2
    assert deep["state_bytes", "generate"] == state  # of half the layers, but of two batches
    assert deep["cost_per_million", "generate"] > one["cost_per_million", "generate"]  # type: ignore[operator]
    assert first / 2 < two["ttft_ms", "prefill"] < first < deep["ttft_ms", "prefill"]  # type: ignore[operator]


def test_forecasts_say_what_they_are_and_what_they_rest_on() -> None:
    known = Calibration(MACHINE.model_copy(update={"name": "here"}), "f", tuple(simulated(1)[:48]), ())
    found = forecast(["gla:micro"], ["here", "l4"], [OperatingPoint(1, 32, 4)], calibration=known)
    assert {one.basis for one in found} == {"forecast"} and {one.axis for one in found} == {"E"}
    timed = [one for one in found if one.metric == "ttft_ms"]
    assert [(one.machine, one.precision, one.confidence) for one in timed] == [
        ("here", "float32", 0.9),
        ("l4", "bfloat16", None),
    ]
    assert [one.flags for one in timed] == [(), (BY_DESCRIPTION,)]
    here, there = timed
    assert here.low is not None and here.value is not None and here.high is not None
    assert here.low < here.value < here.high <= 1.6 * here.value and here.note == ""
    assert (there.low, there.high) == (None, None) and "description alone" in there.note
    lacking = {one.metric: one.reason for one in found if one.value is None and one.machine == "l4"}
    assert lacking == {"cost_per_million": "the machine has no price"}
    assert all((one.batch, one.length, one.decode) == (1, 32, 4) for one in found)
    assert not [one for one in found if one.metric == "weight_bytes" and one.flags]
    peak, elsewhere = (one for one in found if one.metric == "peak_memory_bytes")
    assert (peak.low, peak.high) == pytest.approx((peak.value / 1.05, peak.value * 1.05))  # type: ignore[operator]
    assert (elsewhere.low, elsewhere.high, elsewhere.note) == (None, None, UNCHECKED)


def test_a_busy_calibration_gives_words_and_no_interval() -> None:
    """Times of a machine that others used scatter by a factor of ten."""
    scatter = np.random.default_rng(0).choice([1.0, 3.0, 10.0], 48)
    busy = tuple(
        replace(one, seconds=one.seconds * by) for one, by in zip(simulated(1)[:48], scatter, strict=True)
    )
    known = Calibration(MACHINE.model_copy(update={"name": "here"}), "f", busy, ())
    found = forecast(["gla:micro"], ["here"], [OperatingPoint(1, 32, 4)], calibration=known)
    timed = [one for one in found if one.unit in ("ms", "tokens/s", "examples/s") and one.value is not None]
    assert len(timed) > 5
    assert {(one.low, one.high, one.confidence, one.note) for one in timed} == {(None, None, None, TOO_WIDE)}


def test_what_cannot_be_forecast_says_why_in_every_metric() -> None:
    bert = ForecastModel("bert", BertConfig(hidden_size=64, num_attention_heads=4, num_hidden_layers=3))
    lonely = MACHINE.model_copy(update={"link": None, "name": "lonely"})

    def reasons(model: str | ForecastModel, machine: str | Machine, **asked: object) -> set[str]:
        point = asked.pop("point", OperatingPoint(1, 8, 2))
        records = forecast([model], [machine], [point], calibration=UNCALIBRATED, **asked)  # type: ignore
        assert all(one.status == "not measured" for one in records if one.metric != "cost_per_million")
        return {one.reason for one in records}

    assert reasons(bert, "l4") == {"bert generates nothing; leave out decode, or name a causal model"}
    assert reasons(bert, "l4", point=OperatingPoint(1, 513)) == {"bert has 512 positions, 513 are needed"}
    two = (ParallelPlan(2),)
    assert reasons("gla:nano", "l4", plans=two) == {"l4 has 1 device, the plan needs 2"}
    assert reasons("gla:nano", lonely, plans=two) == {
        "lonely has no `link` between devices; give its bandwidth"
    }
    assert "4 heads and 4 layers do not divide into tensor 3; choose other degrees" in reasons(
        "gla:micro", "h100-sxm", plans=(ParallelPlan(3),)
    )
    assert reasons("gla:nano", "t4", precisions=("bfloat16",)) == {
        "t4 has no rate for products in bfloat16; it has float32, float16, int8"
    }
    assert reasons("gla:nano", "l4", precisions=("packed",)) == {
        "gla:nano has no ternary weights to pack; choose another precision"
    }


def test_one_token_alone_has_no_further_ones() -> None:
    found = forecast(["gla:nano"], ["l4"], [OperatingPoint(1, 8, 1)])
    lacking = {
        (one.metric, one.phase) for one in found if one.reason == "no token is generated after the first"
    }
    assert lacking == {("tpot_ms", "decode"), ("latency_ms", "decode"), ("throughput_tokens_per_s", "decode")}
    kept = values(found)
    assert kept["latency_ms", "generate"] == kept["ttft_ms", "prefill"]


def test_a_precision_that_is_named_twice_is_forecast_once() -> None:
    found = forecast(["matmul-free:nano"], ["epyc-9654"], [OperatingPoint()], precisions=("auto", "packed"))
    assert {one.precision for one in found} == {"packed"}
    assert len(found) == len({(one.metric, one.phase) for one in found})


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"points": [OperatingPoint(0, 8)]}, "an operating point has 1 to 10,000,000 sequences"),
        ({"points": [OperatingPoint(1, 8, -1)]}, "generates 0 to"),
        ({"precisions": ("int3",)}, "unknown precision 'int3'"),
        ({"machines": ["l5"]}, "did you mean l4"),
        ({"machines": ["l4", "l4"]}, "two machines are called 'l4'"),
        ({"machines": []}, "name at least one machine"),
        ({"machines": ["absent.json"]}, "not calibrated"),
        ({"models": ["gla:huge"]}, "unknown size"),
        ({"models": ["no-such-folder/at/all"]}, "does not exist"),
    ],
)
def test_what_is_not_there_is_refused(asked: dict[str, object], match: str) -> None:
    arguments = {"models": ["gla:nano"], "machines": ["l4"], "points": [OperatingPoint()]} | asked
    with pytest.raises(TrilemmaError, match=match):
        forecast(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "plan"), [("1", (1, 1)), (" 4 ", (4, 1)), ("4x2", (4, 2)), ("1 x 3", (1, 3))]
)
def test_a_plan_is_read(text: str, plan: tuple[int, int]) -> None:
    assert ParallelPlan.parse(text) == ParallelPlan(*plan)


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "2x", "2x0", "1.5", "9" * 5000])
def test_a_plan_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DeployError, match="is not a number of devices"):
        ParallelPlan.parse(text)


def test_activations_are_what_is_alive_in_an_mlp() -> None:
    # Four tensors of the stream (three in an encoder) and gate, value and product (or hidden layer, twice).
    gla = ForecastModel.find("gla:small")  # 512 wide, MLP 1,280 wide
    held = memory_of(gla, "float32", OperatingPoint(2, 1024, 8)).activations
    assert held == 4 * 2 * 1024 * (4 * 512 + 3 * 1280) + 4 * 512 * 1280 + BUFFERS
    config = BertConfig(hidden_size=512, intermediate_size=2048, num_attention_heads=8, num_hidden_layers=1)
    held = memory_of(ForecastModel("bert", config), "float32", OperatingPoint(16, 256)).activations
    assert held == 4 * 16 * 256 * (3 * 512 + 2 * 2048) + 4 * 512 * 2048 + BUFFERS


def test_room_for_keys_to_come_is_resident_in_large_tensors_alone() -> None:
    def room(model: ForecastModel, length: int) -> float:
        return memory_of(model, "float32", OperatingPoint(1, length, 8)).room

    small = ForecastModel.find("transformer-pp:small")
    assert room(small, 512) == 0  # 768 places of 2 KiB are less than a page
    eighth = small.dimensions.layers * 2 * 1024 * 512 * 4
    assert 0.8 * eighth < room(small, 8192) < eighth  # 1,024 places more
    assert room(ForecastModel.find("gla:small"), 8192) == 0
    windowed = ForecastModel("w", configuration("transformer-pp", "small", 8192, window_size=64))
    assert windowed.dimensions.windowed == windowed.dimensions.layers and room(windowed, 8192) == 0


def test_devices_share_the_room_as_they_share_the_state() -> None:
    whole = memory_of(ForecastModel.find("transformer-pp:small"), "float32", OperatingPoint(8, 8192, 8))
    part = whole.divided(4, 1, 8)
    assert (part.state, part.room, part.activations) == (whole.state / 4, whole.room / 4, whole.activations)


def test_a_model_is_deployed_in_the_precision_that_a_machine_multiplies() -> None:
    gla, matmul_free = ForecastModel.find("gla:micro"), ForecastModel.find("matmul-free:micro")
    assert [gla.precision_on(catalogue()[name]) for name in ("t4", "l4", "epyc-9654")] == [
        "float16",
        "bfloat16",
        "float32",
    ]
    assert matmul_free.precision_on(catalogue()["epyc-9654"]) == "packed"
    with pytest.raises(DeployError, match="did you mean float16"):
        gla.precision_on(catalogue()["t4"], "float61")


def test_a_measurement_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(DeployError, match="not a positive number"):
        Forecaster(MACHINE, [Measured(one_pass(), float("nan"))])


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
    with pytest.raises(ModelError, match="configuration"):
        forecast([tmp_path], ["l4"], [OperatingPoint()])


def test_a_family_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(ModelError, match="are not known"):
        ForecastModel.find(str(tmp_path))
    with pytest.raises(ModelError, match="has no config"):
        (tmp_path / "empty").mkdir()
        ForecastModel.find(str(tmp_path / "empty"))


def test_operations_of_nothing_are_refused() -> None:
    with pytest.raises(ModelError, match="unknown precision"):
        forward(FAMILIES["gla"].shape, 1, 1, 1, "int4")
    with pytest.raises(ModelError, match="at least one sequence"):
        forward(FAMILIES["gla"].shape, 1, 4, 2, "float32")


def test_this_machine_may_be_given_a_price(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "- name: priced\n  like: here\n  price: 2\n- name: faster\n  like: here\n  bandwidth: 9.0e12\n"
    )
    known = Calibration(MACHINE, "f", tuple(simulated(1)[:48]), ())
    priced, faster = forecasters([str(file)], known)
    assert (priced.machine.price, priced.machine.bandwidth) == (2, MACHINE.bandwidth)
    assert priced.measured("prefill") and not faster.measured("prefill")
    (alone,) = forecasters([f"{file}:faster"], known)
    assert alone.machine == faster.machine == find_machine(f"{file}:faster", lambda: MACHINE)
    with pytest.raises(DeployError, match="has no machine 'other'; it has priced, faster"):
        forecasters([f"{file}:other"], known)


def test_a_calibration_of_another_machine_goes_by_its_files_name(tmp_path: Path) -> None:
    calibration.write(Calibration(MACHINE, "f", tuple(simulated(1)[:48]), ()), tmp_path / "server.json")
    (server,) = forecasters([str(tmp_path / "server.json")])
    assert server.machine.name == "server" and server.measured("decode")
