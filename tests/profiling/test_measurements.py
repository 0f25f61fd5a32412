"""All measurements of small models, end to end, as a study and as `trilemma profile` ask for them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, OpenAIGPTConfig, OpenAIGPTForSequenceClassification

from tests.stand_ins.measured import MACHINE, MIB, NO_METER, Clock, FakePeaks, Found
from tests.stand_ins.tiny_models import POSITIONS, byte_tokenizer, save_bert, save_llama
from trilemma.adapt import AdaptSettings
from trilemma.hardware import Unmeasured
from trilemma.metrics import METRICS
from trilemma.models import loading
from trilemma.operating_point import OperatingPoint
from trilemma.ops.ternary.packed import multiplies_packed
from trilemma.profiling import EfficiencyGrid, ModelUnderTest, ProfileGrid, measure, profile
from trilemma.profiling.cost import cost_of
from trilemma.profiling.measurements.training import PARTS
from trilemma.profiling.models import opened
from trilemma.profiling.session import Session
from trilemma.records import FAKE_QUANTISED, Record, records_table

DECODE = 4
BLOCK: dict[str, Any] = {
    "batch": [1, 2],
    "length": [8, 2 * POSITIONS],
    "decode": DECODE,
    "rounds": 6,
    "seconds": 1,
    "training": {"batch": [2], "length": [8]},
}
STUDY = EfficiencyGrid.model_validate(BLOCK)
PROFILE = ProfileGrid.model_validate(BLOCK)
QUICK = ProfileGrid.model_validate(BLOCK | {"batch": [2], "length": [8], "training": None})

LATENCIES = {"latency_ms", "latency_p95_ms", "throughput_tokens_per_s", "examples_per_s"}
COSTS = {"flops", "bytes_moved", "roofline_ms", "roofline_share"}
PEAK = {"peak_memory_bytes", "activation_bytes"}
CLASSIFY = {(metric, "classify") for metric in LATENCIES | COSTS | PEAK}
GENERATE = {
    *((metric, "generate") for metric in LATENCIES | PEAK | {"state_bytes"}),
    *((metric, phase) for metric in COSTS for phase in ("prefill", "decode")),
    *(("ttft_ms", "prefill"), ("tpot_ms", "decode"), ("latency_ms", "decode")),
    ("throughput_tokens_per_s", "decode"),
}
STEP = {"examples_per_s", "step_ms", *(f"{one}_ms" for one in PARTS)}
TRAIN = {(metric, "train") for metric in PEAK | STEP | {"gradient_bytes", "optimiser_bytes"}}
SIZES = {"parameters", "non_embedding_parameters", "weight_bytes"}
WHOLE = SIZES | {"machine_flops_per_s", "machine_bytes_per_s"}


def session_of(
    models: list[ModelUnderTest], grid: EfficiencyGrid, clock: Clock | None = None, **parts: Any
) -> Session:
    defaults: dict[str, Any] = {"machine": MACHINE, "meter": NO_METER, "peaks": FakePeaks()}
    defaults |= {"clock": clock} if clock else {}
    return Session(models, grid, device="cpu", **(defaults | parts))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, a decoder, and models of the built-in architectures."""
    folder = tmp_path_factory.mktemp("models")
    save_bert(folder / "bert")
    save_llama(folder / "llama")
    for arch in ("transformer-pp", "gla", "matmul-free"):
        tokenizer = byte_tokenizer()
        loading.save(loading.create(arch, "nano", tokenizer, seed=0), tokenizer, folder / arch)
    return folder


@pytest.fixture(scope="module")
def studied(folders: Path) -> Found:
    """As in a study, one shape under two names."""
    models = [
        ModelUnderTest(("bert",), folders / "bert"),
        ModelUnderTest(("scratch", "pretrained"), folders / "transformer-pp"),
        ModelUnderTest(("gla",), folders / "gla"),
    ]
    return Found(measure(session_of(models, STUDY)))


@pytest.fixture(scope="module")
def profiled(folders: Path) -> Found:
    """As by `trilemma profile`."""
    with opened([folders / "bert", folders / "llama", "gla:nano"]) as models:
        return Found(measure(session_of(models, PROFILE, Clock())))


def at(found: Found, model: str, **columns: Any) -> dict[tuple[Any, ...], set[tuple[str, str]]]:
    """Metrics and phases by point."""
    points: dict[tuple[Any, ...], set[tuple[str, str]]] = {}
    for one in found.records:
        if one.model == model and all(getattr(one, name) == value for name, value in columns.items()):
            points.setdefault((one.batch, one.length, one.decode), set()).add((one.metric, one.phase))
    return points


def test_a_study_has_every_metric_at_every_point(studied: Found) -> None:
    energies = {("energy_j_per_example", phase) for phase in ("classify", "generate", "train")}
    energies |= {("energy_j_per_token", phase) for phase in ("prefill", "decode")}
    whole = {(metric, "") for metric in (*WHOLE, "idle_power_w")}
    for model in ("bert", "scratch", "pretrained", "gla"):
        found = at(studied, model)
        for batch in (1, 2):
            for length in (8, 2 * POSITIONS):
                counted = {("flops_per_token", "")} if batch == 1 else set()
                trained = TRAIN if (batch, length) == (2, 8) else set()
                assert found.pop((batch, length, None)) == CLASSIFY | counted | trained
                generated = {one for one in GENERATE if model != "bert" or one[0] not in COSTS}
                assert found.pop((batch, length, DECODE)) == generated
        # Without a meter, energy is said of a model as a whole.
        encoder = {one for one in energies if one[1] in ("classify", "train")}
        assert found == {(None, None, None): whole | (encoder if model == "bert" else energies)}


def test_a_profile_is_about_how_a_model_answers(profiled: Found) -> None:
    whole = {(metric, "") for metric in WHOLE}
    for model in ("llama", "gla:nano"):
        found = at(profiled, model)
        assert found.pop((2, 8, None)) == TRAIN and found.pop((None, None, None)) == whole
        assert set(found) == {(batch, length, DECODE) for batch in (1, 2) for length in (8, 2 * POSITIONS)}
        assert all(metrics == GENERATE for metrics in found.values())
    encoder = at(profiled, "bert")
    assert encoder[2, 128, None] == CLASSIFY and not [point for point in encoder if point[2]]


def test_nothing_is_recorded_twice_and_all_of_it_fits_the_table(studied: Found, profiled: Found) -> None:
    for found in (studied, profiled):
        keys = {
            (one.model, one.metric, one.phase, one.adaptation, one.batch, one.length, one.decode)
            for one in found.records
        }
        assert len(keys) == len(found.records) == records_table(found.records).num_rows


def test_every_record_keeps_to_what_the_metrics_say(studied: Found) -> None:
    for record in studied.records:
        metric = METRICS[record.metric]
        assert record.axis == "E" and record.unit == metric.unit and record.phase in (metric.phases or ("",))
        assert record.hardware and record.versions and record.kernel
        assert (record.basis == "counted") == metric.exact
        if record.value is None:
            continue
        # What a model of a few thousand weights holds beside them may be less than a page.
        assert record.value > 0 or record.metric == "activation_bytes"
        assert (record.low is None) == (record.confidence is None)
        if record.low is not None and record.high is not None:
            assert record.low <= record.value <= record.high
        timed = record.unit in ("ms", "tokens/s", "examples/s") or record.metric == "roofline_share"
        if timed and record.metric not in ("latency_p95_ms", "roofline_ms"):
            assert record.verdict and record.n == 6 and record.drift_p is not None
            assert len(record.rounds) == 6 and min(record.rounds) < record.value < max(record.rounds)
        else:
            assert record.rounds == ()


def test_reasons_are_the_right_ones(studied: Found) -> None:
    beyond = "the model has 64 positions, 128 are needed"
    for metric in ("latency_ms", "peak_memory_bytes", "flops", "roofline_share"):
        record = studied.one(metric, "classify", model="bert", batch=2, length=128)
        assert (record.status, record.reason) == ("not measured", beyond)
    for metric, phase in (("tpot_ms", "decode"), ("state_bytes", "generate")):
        assert studied.one(metric, phase, model="bert", batch=1, length=8).reason == "not a generative model"
    few = studied.one("latency_p95_ms", "classify", model="gla", batch=1, length=8).reason
    assert few == "a 95th percentile needs 20 repetitions, 6 fitted the time; raise `seconds`"


def test_names_of_one_shape_share_its_values(studied: Found) -> None:
    scratch, pretrained = (
        [one.value for one in studied.records if one.model == name] for name in ("scratch", "pretrained")
    )
    assert scratch == pretrained


def test_activations_are_the_peak_less_all_that_is_counted(studied: Found) -> None:
    counted = {"classify": 30, "generate": 30 + 10, "train": 30 + 20 + 25}
    for phase, mebibytes in counted.items():
        left = studied.one("activation_bytes", phase, model="gla", batch=2, length=8)
        assert (left.value, left.low) == ((100 - mebibytes) * MIB, (99 - mebibytes) * MIB)
        assert left.n == 6 and left.verdict == ""  # which is of times
    assert studied.value("gradient_bytes", "train", model="gla") == 20 * MIB


def test_sizes_are_those_of_the_form_in_which_a_model_answers(
    studied: Found, profiled: Found, folders: Path
) -> None:
    described = loading.describe(loading.load_classifier(folders / "gla", 2, seed=0))
    assert studied.value("parameters", model="gla") == described.parameters
    assert studied.value("weight_bytes", model="gla") == described.weight_bytes
    assert {one.parameters for one in studied.records if one.model == "gla"} == {described.parameters}
    described = loading.describe(loading.load_language_model(folders / "llama"))
    assert profiled.value("weight_bytes", model="llama") == described.weight_bytes
    assert {one.parameters for one in profiled.records if one.model == "llama"} == {described.parameters}


def test_rates_belong_to_their_times(studied: Found) -> None:
    place = {"model": "gla", "batch": 2, "length": 8}
    each = studied.one("tpot_ms", "decode", **place)
    assert each.value is not None and each.high is not None
    assert studied.value("latency_ms", "decode", **place) == pytest.approx((DECODE - 1) * each.value)
    speed = studied.one("throughput_tokens_per_s", "decode", **place)
    assert speed.value == pytest.approx(2e3 / each.value) and speed.low == pytest.approx(2e3 / each.high)
    for phase, tokens in (("classify", 8), ("generate", 8 + DECODE)):
        whole = studied.value("latency_ms", phase, **place)
        throughput = studied.value("throughput_tokens_per_s", phase, **place)
        assert throughput == pytest.approx(1e3 * 2 * tokens / whole)
        assert studied.value("examples_per_s", phase, **place) == pytest.approx(2e3 / whole)
    assert whole > studied.value("ttft_ms", "prefill", **place)
    step = studied.value("step_ms", "train", **place)
    assert studied.value("examples_per_s", "train", **place) == pytest.approx(2e3 / step)
    assert all(studied.value(f"{part}_ms", "train", **place) < step for part in PARTS)


def test_shares_of_the_roofline_are_least_times_over_measured_ones(studied: Found, folders: Path) -> None:
    config = loading.load_classifier(folders / "gla", 2, seed=0).config
    times = {"classify": "latency_ms", "prefill": "ttft_ms", "decode": "latency_ms"}
    for phase, time in times.items():
        place = {"model": "gla", "batch": 2, "length": 128}
        point = OperatingPoint(2, 128, DECODE)
        cost = cost_of(config, "float32", MACHINE, phase, point)  # type: ignore[arg-type]
        assert studied.value("flops", phase, **place) == pytest.approx(cost.flops)
        assert studied.value("bytes_moved", phase, **place) == pytest.approx(cost.bytes)
        least = studied.one("roofline_ms", phase, **place)
        assert least.value == pytest.approx(1e3 * (cost.least_seconds or 0)) and least.note == cost.note
        share = studied.one("roofline_share", phase, **place)
        assert share.value == pytest.approx((least.value or 0) / studied.value(time, phase, **place))
        assert share.note.startswith("bound by ") and share.verdict


def test_the_machines_rates_stand_at_every_model(studied: Found) -> None:
    for model in ("bert", "scratch", "gla"):
        assert studied.value("machine_bytes_per_s", model=model) == MACHINE.bandwidth
        rate = studied.one("machine_flops_per_s", model=model)
        assert rate.value == MACHINE.flops["float32"] and rate.note == "products in float32"


def test_times_are_those_of_the_parts_between_looks_at_the_clock(folders: Path) -> None:
    grid = PROFILE.model_copy(update={"length": [8], "batch": [2]})
    llama = ModelUnderTest(("llama",), folders / "llama", precision="float32")
    found = Found(measure(session_of([llama], grid, Clock()), ["generation", "training"]))
    times = {("ttft_ms", "prefill"): 1.0, ("tpot_ms", "decode"): 1 / (DECODE - 1)}
    times |= {("latency_ms", "decode"): 1.0, ("latency_ms", "generate"): 2.0, ("step_ms", "train"): 4.0}
    times |= {(f"{part}_ms", "train"): 1.0 for part in PARTS}
    for (metric, phase), milliseconds in times.items():
        assert found.value(metric, phase) == pytest.approx(milliseconds)
        assert found.one(metric, phase).verdict == "steady"


def test_forms_are_columns_of_one_model(folders: Path) -> None:
    precisions: Any = ("float32", "bfloat16", "packed")
    peaks = FakePeaks()
    grid = QUICK.model_copy(update={"training": PROFILE.training})
    with opened([folders / "matmul-free"], precisions=precisions) as models:
        found = Found(measure(session_of(models, grid, Clock(), peaks=peaks)))
    assert {one.model for one in found.records} == {"matmul-free"}
    assert {one.precision for one in found.all("ttft_ms", "prefill")} == set(precisions)
    step = found.one("step_ms", "train", precision="packed")
    assert (step.status, step.reason) == ("not measured", "packed weights cannot be trained")
    assert {work.model.precision for work in peaks.asked if work.phase == "train"} == {"float32", "bfloat16"}
    assert not found.one("peak_memory_bytes", "train", precision="packed").value
    flags = {one.precision: one.flags for one in found.all("weight_bytes")}
    assert flags == {"float32": (FAKE_QUANTISED,), "bfloat16": (FAKE_QUANTISED,), "packed": ()}
    multiplied = {one.precision: one.note for one in found.all("machine_flops_per_s")}
    assert multiplied == {
        "float32": "products in int8",  # unpacked ternary weights are held as bytes
        "bfloat16": "products in int8",
        "packed": "products of packed weights",
    }


def test_what_a_study_deploys_is_recorded_as_what_it_is(folders: Path) -> None:
    deployed = ModelUnderTest(("m",), folders / "matmul-free")
    grid = STUDY.model_copy(update={"batch": [1], "length": [8]})
    found = Found(measure(session_of([deployed], grid, Clock())))
    expected = "packed" if multiplies_packed("cpu") else "float32"
    for metric, phase in (("latency_ms", "classify"), ("ttft_ms", "prefill"), ("weight_bytes", "")):
        assert found.one(metric, phase).precision == expected
    assert found.one("step_ms", "train").precision == "float32"


def test_a_precision_that_the_machine_has_no_rate_for_ends_nothing(folders: Path) -> None:
    machine = MACHINE.model_copy(update={"flops": {}})
    with opened([folders / "gla"]) as models:
        found = Found(measure(session_of(models, QUICK, Clock(), machine=machine)))
    lacking = "this machine has no rate for products in float32"
    bounded = {("machine_flops_per_s", ""), ("roofline_ms", "prefill"), ("roofline_share", "decode")}
    for metric, phase in bounded:
        assert (found.one(metric, phase).status, found.one(metric, phase).reason) == ("not measured", lacking)
    for metric, phase in (("bytes_moved", "prefill"), ("ttft_ms", "prefill"), ("machine_bytes_per_s", "")):
        assert found.value(metric, phase) > 0


def test_compiling_happens_before_the_clock_runs(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda model: compiled.append(type(model).__name__))

    def passes(**form: Any) -> int:
        """How often the prompt is read, when all takes the same time."""
        done: list[str] = []

        def count(module: torch.nn.Module, inputs: Any, arguments: dict[str, Any], output: Any) -> None:
            read = arguments.get("input_ids")
            if type(module).__name__ == "LlamaForCausalLM" and read is not None and read.shape[1] == 8:
                done.append("")

        hook = torch.nn.modules.module.register_module_forward_hook(count, with_kwargs=True)
        try:
            with opened([folders / "llama"], **form) as models:
                found = measure(session_of(models, QUICK, Clock()), ["generation"])
        finally:
            hook.remove()
        assert {one.compiled for one in found} == {bool(form)}
        return len(done)

    assert passes(compiled=True) == passes() + 1 and "LlamaForCausalLM" in compiled


def test_running_out_of_memory_or_time_is_a_record(folders: Path) -> None:
    def limited(module: torch.nn.Module, inputs: Any, arguments: dict[str, Any]) -> None:
        if type(module).__name__ == "LlamaForCausalLM" and arguments["input_ids"].shape[1] > 8:
            raise MemoryError

    slow = Unmeasured("a repetition takes over 30 s")
    with opened([folders / "llama"]) as models:
        session = session_of(models, PROFILE, Clock(), peaks=lambda works, *_: iter([slow] * len(works)))
        for loaded in session.loaded("language model"):
            loaded.module.register_forward_pre_hook(limited, with_kwargs=True)
        found = Found(measure(session, ["generation", "work", "memory"]))
    large = {"batch": 1, "length": 128}
    for metric, phase in (("ttft_ms", "prefill"), ("latency_ms", "generate"), ("roofline_share", "decode")):
        assert found.one(metric, phase, **large).reason == "out of memory"
    assert found.value("flops", "prefill", **large) > 0
    assert found.value("ttft_ms", "prefill", batch=1, length=8) > 0
    for metric, phase in (("peak_memory_bytes", "train"), ("state_bytes", "generate")):
        assert {one.reason for one in found.all(metric, phase)} == {slow.reason}


def test_operations_of_an_unknown_family_are_counted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=2, pad_token_id=0)
    BloomForCausalLM(config).save_pretrained(tmp_path / "bloom")
    with opened([tmp_path / "bloom"]) as models:
        grid = QUICK.model_copy(update={"phases": ["classify", "generate"]})
        found = Found(measure(session_of(models, grid, Clock())))
    layer, head = 12 * 32 * 32, 32 * 64
    assert found.value("flops", "prefill") == pytest.approx(2 * 16 * (layer + head), rel=0.2)
    assert found.value("flops", "classify") == pytest.approx(2 * 16 * layer, rel=0.2)
    unknown = "operations of a model of type 'bloom' are not known"
    for metric, phase in (("bytes_moved", "prefill"), ("roofline_share", "classify"), ("flops", "decode")):
        record = found.one(metric, phase)
        assert record.status == "not measured" and record.reason.startswith(unknown)
    assert found.value("ttft_ms", "prefill") > 0


def test_without_tokens_to_decode_a_model_classifies(folders: Path) -> None:
    for phases in ("auto", ["classify", "generate"]):
        grid = QUICK.model_copy(update={"decode": 0, "phases": phases})
        with opened([folders / "gla"]) as models:
            found = measure(session_of(models, grid, Clock()))
        assert {one.phase for one in found} == {"", "classify"}


def test_each_adaptation_is_trained_by_itself_and_leaves_the_weights(folders: Path) -> None:
    methods = ("full", "lora", "linear-probe")
    settings = tuple(AdaptSettings(method=method) for method in methods)
    for arch in ("gla", "matmul-free"):
        model = ModelUnderTest((arch,), folders / arch, adaptations=settings)
        peaks = FakePeaks()
        session = session_of([model], STUDY, Clock(), peaks=peaks)
        (loaded,) = session.loaded("trainable classifier")
        before = {name: p.clone() for name, p in loaded.module.named_parameters()}
        found = Found(measure(session, ["training"]))
        assert [one.adaptation for one in found.all("step_ms", "train") if one.value] == list(methods)
        assert not loaded.module.training
        after = dict(loaded.module.named_parameters())
        assert list(before) == list(after) and all(before[name].equal(after[name]) for name in before)
        measure(session, ["memory"])
        trained = [work.adaptation.method for work in peaks.asked if work.adaptation]
        assert trained == list(methods)


def layers(session: Session) -> Iterable[Record]:
    for model in session.models:
        count = float(session.config(model).num_hidden_layers)
        yield from session.record(model, "layers", count, unit="layers")


def test_a_measurement_from_outside_is_one_function(folders: Path) -> None:
    reports: list[tuple[float, float, str]] = []
    models = [ModelUnderTest(("a", "b"), folders / "bert")]
    records = profile(
        models, STUDY, measurements=[layers], device="cpu", progress=lambda *report: reports.append(report)
    )
    assert [(record.model, record.value, record.unit) for record in records] == [
        ("a", 2, "layers"),
        ("b", 2, "layers"),
    ]
    assert reports[-1] == (1, 1, "measurements")


def test_progress_reaches_the_end(folders: Path) -> None:
    reports: list[tuple[float, float, str]] = []
    with opened([folders / "bert", folders / "llama"]) as models:
        measure(session_of(models, QUICK, Clock()), progress=lambda *report: reports.append(report))
    shares = [done / total for done, total, _ in reports]
    assert shares == sorted(shares) and shares[-1] == 1


def test_positions_are_known_from_a_configuration_of_any_table(tmp_path: Path) -> None:
    config = OpenAIGPTConfig(
        vocab_size=64, n_positions=POSITIONS, n_embd=32, n_layer=1, n_head=2, pad_token_id=0
    )
    OpenAIGPTForSequenceClassification(config).save_pretrained(tmp_path)
    grid = STUDY.model_copy(update={"batch": [1], "phases": ["classify"]})
    session = session_of([ModelUnderTest(("odd",), tmp_path)], grid, Clock())
    found = Found(measure(session, ["flops", "latency"]))
    for metric, phase in (("flops_per_token", ""), ("latency_ms", "classify")):
        assert found.value(metric, phase, length=8) > 0
        record = found.one(metric, phase, length=2 * POSITIONS)
        assert record.status == "not measured"
        assert record.reason == f"the model has {POSITIONS} positions, {2 * POSITIONS} are needed"


def test_all_phases_that_metrics_know_are_measured(studied: Found) -> None:
    from trilemma.metrics import Phase

    assert {one.phase for one in studied.records} == set(get_args(Phase))
