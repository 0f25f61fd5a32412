"""All measurements of small models, end to end."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.stand_ins.tiny_models import POSITIONS, byte_tokenizer, save_bert
from trilemma.adapt import AdaptSettings
from trilemma.hardware.roofline import Found, Roofline
from trilemma.models import loading
from trilemma.models.loading import describe
from trilemma.profiling import MEASUREMENTS, EfficiencyGrid, ProfiledModel, profile, session
from trilemma.profiling.measurements import energy, work
from trilemma.profiling.points import Point, Unmeasured
from trilemma.profiling.session import Session
from trilemma.records import Record, records_table

GRID = EfficiencyGrid.model_validate(
    {
        "batch": [1, 2],
        "length": [8, 2 * POSITIONS],
        "decode": 4,
        "rounds": 6,
        "seconds": 0.05,
        "training": {"batch": [2], "length": [8]},
    }
)

ROOF = Roofline(machine="made up", bandwidth=1e10, flops={"float32": 1e11})

Values = dict[tuple[str, str, int | None, int | None], Record]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, and two recurrent or attention models of our own; one shape under two names."""
    folder = tmp_path_factory.mktemp("models")
    save_bert(folder / "bert")
    for arch in ("transformer-pp", "gla", "matmul-free"):
        tokenizer = byte_tokenizer()
        loading.save(loading.create(arch, "nano", tokenizer, seed=0), tokenizer, folder / arch)
    return folder


@pytest.fixture(scope="module")
def measured(folders: Path) -> Values:
    models = [
        ProfiledModel(("bert",), folders / "bert"),
        ProfiledModel(("scratch", "pretrained"), folders / "transformer-pp"),
        ProfiledModel(("gla",), folders / "gla"),
    ]
    with pytest.MonkeyPatch.context() as patch:  # what a machine with a meter gives is tested on its own
        patch.setattr(energy, "open_meter", lambda device: Unmeasured("no meter in this test"))
        patch.setattr(work, "find", lambda device, precisions: Found(ROOF, ""))
        records = profile(models, GRID, device="cpu")
    assert records_table(records).num_rows == len(records)
    values = {(record.model, record.metric, record.batch, record.length): record for record in records}
    assert len(values) == len(records), "a value was recorded twice"
    return values


def test_every_model_has_every_metric_at_every_point(measured: Values) -> None:
    points: Iterable[tuple[int, int]] = [(1, 8), (1, 128), (2, 8), (2, 128)]
    gridded = ["latency_ms", "latency_p95_ms", "throughput_tokens_per_s", "peak_inference_memory_bytes"]
    gridded += ["ttft_ms", "tpot_ms", "decode_ms", "decode_tokens_per_s", "activation_bytes"]
    gridded += [f"classify_{what}" for what in ("flops", "bytes", "least_ms")]
    work_of_generation = [
        f"{phase}_{what}" for phase in ("prefill", "decode_step") for what in ("flops", "bytes", "least_ms")
    ]
    expected = {(metric, *point) for metric in gridded for point in points}
    expected |= {(metric, 1, length) for metric in ("flops_per_token", "state_bytes") for length in (8, 128)}
    expected |= {(metric, 2, 8) for metric in ("training_examples_per_s", "peak_training_memory_bytes")}
    generated = {(metric, *point) for metric in work_of_generation for point in points}
    sizes = ["parameters", "non_embedding_parameters", "weight_bytes", "idle_power_w"]
    sizes += ["machine_flops_per_s", "machine_bytes_per_s"]
    # Without a meter, once a model.
    kinds = ("", "prefill_", "decode_", "generation_", "training_")
    places = {"": "example", "prefill_": "token", "decode_": "token"}
    sizes += [f"{kind}energy_j_per_{places.get(kind, 'example')}" for kind in kinds]
    for model in ("bert", "scratch", "pretrained", "gla"):
        found = {key[1:] for key in measured if key[0] == model}
        own = set() if model == "bert" else generated
        assert found == expected | own | {(metric, None, None) for metric in sizes}


def test_what_has_no_value_says_why(measured: Values) -> None:
    for record in measured.values():
        assert record.axis == "E" and record.unit and record.hardware and record.versions and record.kernel
        assert (record.value is None) == record.note.startswith("not measured: ")
        if record.value is not None:
            # What a model of a few thousand weights holds beside them may be less than a page.
            assert record.value > 0 or record.metric == "activation_bytes"
            if record.low is not None and record.high is not None:
                assert record.low <= record.value <= record.high


def test_reasons_are_the_right_ones(measured: Values) -> None:
    beyond = "not measured: the model has 64 positions, 128 are needed"
    assert measured["bert", "latency_ms", 1, 128].note == beyond
    assert measured["bert", "peak_inference_memory_bytes", 2, 128].note == beyond
    assert measured["bert", "tpot_ms", 1, 8].note == "not measured: not a generative model"
    assert measured["bert", "state_bytes", 1, 8].note == "not measured: not a generative model"
    assert measured["gla", "latency_p95_ms", 1, 8].note == (
        "not measured: a 95th percentile needs 20 repetitions, 6 fitted the time"
    )


def test_names_of_one_shape_share_its_values(measured: Values) -> None:
    for (model, *point), record in measured.items():
        if model == "scratch":
            assert measured["pretrained", *point].value == record.value


def test_attention_keeps_every_token_and_a_recurrence_does_not(measured: Values, folders: Path) -> None:
    config = json.loads((folders / "transformer-pp" / "config.json").read_text())
    token = 2 * config["num_hidden_layers"] * config["hidden_size"] * 4
    assert measured["scratch", "state_bytes", 1, 8].value == 8 * token
    assert measured["scratch", "state_bytes", 1, 128].value == 128 * token
    assert measured["gla", "state_bytes", 1, 8].value == measured["gla", "state_bytes", 1, 128].value


def test_sizes_are_those_of_the_classifier(measured: Values, folders: Path) -> None:
    description = loading.describe(loading.load_classifier(folders / "gla", 2, seed=0))
    assert measured["gla", "parameters", None, None].value == description.parameters
    assert measured["gla", "weight_bytes", None, None].value == description.weight_bytes
    assert measured["gla", "latency_ms", 1, 8].parameters == description.parameters


def test_decoding_is_that_of_all_further_tokens(measured: Values) -> None:
    whole, each = (measured["gla", metric, 2, 8] for metric in ("decode_ms", "tpot_ms"))
    assert whole.value == pytest.approx(3 * (each.value or 0)) and whole.note == "3 further tokens"
    assert whole.low is not None and whole.n == each.n


def test_activations_are_the_peak_less_the_weights(measured: Values) -> None:
    peak, left = (
        measured["gla", f"{name}_bytes", 2, 128] for name in ("peak_inference_memory", "activation")
    )
    weights = measured["gla", "weight_bytes", None, None].value
    assert left.value == max(0.0, (peak.value or 0) - (weights or 0)) and left.n == peak.n


def test_medians_carry_their_interval_and_number(measured: Values) -> None:
    record = measured["scratch", "latency_ms", 2, 8]
    assert record.n == 6 and record.low is not None and record.high is not None
    rate = measured["scratch", "throughput_tokens_per_s", 2, 8]
    assert rate.value == pytest.approx(2 * 8 / (record.value or 0) * 1e3)
    assert rate.low == pytest.approx(2 * 8 / record.high * 1e3)


@pytest.mark.parametrize("arch", ["gla", "matmul-free"])
def test_training_is_timed_by_each_adaptation_and_leaves_the_weights(folders: Path, arch: str) -> None:
    methods = ("full", "lora", "linear-probe")
    settings = tuple(AdaptSettings(method=method) for method in methods)
    subject = ProfiledModel((arch,), folders / arch, adaptations=settings)
    session = Session([subject], GRID, device="cpu", clock=iter_clock())
    before = {name: p.clone() for name, p in session.classifiers()[0].model.named_parameters()}
    records = list(MEASUREMENTS.get("training")(session))
    assert [(record.adaptation, bool(record.value)) for record in records] == [(m, True) for m in methods]
    after = dict(session.classifiers()[0].model.named_parameters())
    assert list(before) == list(after)
    assert all(before[name].equal(after[name]) for name in before)
    assert all(parameter.grad is None for parameter in after.values())


def iter_clock() -> "Clock":
    return Clock()


class Clock:
    """Every look at it is a millisecond after the last."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


def test_a_measurement_from_outside_is_one_function(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def layers(session: Session) -> Iterable[Record]:
        for loaded in session.classifiers():
            count = loaded.model.config.num_hidden_layers
            yield from session.record(loaded.subject, "layers", "layers", float(count))

    monkeypatch.setattr(MEASUREMENTS, "_loaded", dict(MEASUREMENTS._loaded))  # forgotten after the test
    MEASUREMENTS.register("layers-of-the-test", layers)
    told: list[tuple[float, float, str]] = []
    records = profile(
        [ProfiledModel(("a", "b"), folders / "bert")],
        GRID,
        measurements=["layers-of-the-test"],
        device="cpu",
        progress=lambda *report: told.append(report),
    )
    assert [(record.model, record.value) for record in records] == [("a", 2), ("b", 2)]
    assert told[-1] == (1, 1, "measurements")


@pytest.mark.parametrize("watts", [None, 65.0])
def test_energy_is_estimated_where_watts_are_given(
    folders: Path, monkeypatch: pytest.MonkeyPatch, watts: float | None
) -> None:
    def latency(session: Session) -> Iterable[Record]:
        point = Point(4, 8)
        yield from session.record(session.subjects[0], "latency_ms", "ms", 20.0, point=point, low=10, high=40)

    monkeypatch.setattr(MEASUREMENTS, "_loaded", dict(MEASUREMENTS._loaded))  # forgotten after the test
    MEASUREMENTS.register("latency-of-the-test", latency)
    records = profile(
        [ProfiledModel(("a",), folders / "bert")],
        GRID.model_copy(update={"watts": watts}),
        measurements=["latency-of-the-test"],
        device="cpu",
    )
    found = [(one.metric, one.value, one.low, one.high) for one in records]
    estimate = ("estimated_energy_j_per_example", 0.325, 0.1625, 0.65)  # 65 W over 5 ms an example
    assert found == [("latency_ms", 20.0, 10, 40), *([estimate] if watts else [])]


@pytest.mark.parametrize("watts", [0, -1, float("inf"), float("nan")])
def test_a_power_is_positive_and_finite(watts: float) -> None:
    with pytest.raises(ValidationError, match="watts"):
        EfficiencyGrid(watts=watts)


def test_no_generation_without_tokens_to_decode(folders: Path) -> None:
    grid = GRID.model_copy(update={"decode": 0})
    models = [ProfiledModel(("gla",), folders / "gla")]
    assert profile(models, grid, measurements=["generation"], device="cpu") == []


def test_a_model_that_does_not_tell_its_positions_fails_where_they_end(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "describe", lambda model: replace(describe(model), max_length=None))
    names = ["flops", "latency", "training", "memory"]
    records = profile([ProfiledModel(("odd",), folders / "bert")], GRID, measurements=names, device="cpu")
    at = {(record.metric, record.length): record for record in records if record.batch == 1}
    for metric in ("flops_per_token", "latency_ms", "peak_inference_memory_bytes"):
        assert at[metric, 8].value
        assert at[metric, 2 * POSITIONS].value is None
        assert at[metric, 2 * POSITIONS].note.startswith("not measured: the model failed with ")
