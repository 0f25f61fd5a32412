"""The efficiency lab: models in several forms, every value at every point, or why there is none."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel

from tests.stand_ins.tiny_models import POSITIONS, byte_tokenizer, save_bert, save_llama
from trilemma.adapt import AdaptSettings
from trilemma.errors import ModelError, TrilemmaError
from trilemma.hardware import roofline
from trilemma.hardware.limits import OutOfMemoryError
from trilemma.hardware.roofline import Found, Roofline
from trilemma.models import loading
from trilemma.profiling import EfficiencyGrid, forms, lab, lab_values, variants
from trilemma.profiling.exchange import ModelProfile, PointProfile, Profile, Value
from trilemma.profiling.measurements import generation
from trilemma.profiling.measurements.memory import Peak, Work
from trilemma.profiling.points import Unmeasured
from trilemma.profiling.session import Session
from trilemma.profiling.subject import ProfiledModel

MIB = 2**20
DECODE = 4
GRID = EfficiencyGrid.model_validate(
    {
        "batch": [2],
        "length": [8, 2 * POSITIONS],
        "decode": DECODE,
        "rounds": 6,
        "seconds": 0.05,
        "training": {"batch": [2], "length": [8]},
    }
)
QUICK = GRID.model_copy(update={"length": [8]})
ROOF = Roofline(machine="made up", bandwidth=1e10, flops={"float32": 1e11, "int8": 1e11, "packed": 1e11})


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose rates are at hand."""
    monkeypatch.setattr(roofline, "find", lambda device, precisions: Found(ROOF, ""))


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """Every peak is 100 MiB, found without a process; what was asked for."""
    asked: list[Work] = []

    def peaks(session: Session, works: Sequence[Work]) -> Iterator[Peak]:
        for work in works:
            asked.append(work)
            parts = {"weights": 30 * MIB, "state": 10 * MIB, "gradients": 20 * MIB, "optimiser": 25 * MIB}
            held = ("weights", "gradients", "optimiser") if work.adaptation else ("weights", "state")
            held = held if work.adaptation or work.decode is not None else ("weights",)
            own = {name: parts[name] for name in held}
            yield Peak(100.0 * MIB, 99.0 * MIB, 101.0 * MIB, 6, own, "made up")

    monkeypatch.setattr(lab, "in_fresh_processes", peaks)
    return asked


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_bert(folder / "bert")
    save_llama(folder / "llama")
    return folder


@pytest.fixture(scope="module")
def measured(folders: Path) -> Iterator[Profile]:
    """Everything, with real memory, of an encoder, a decoder and a recurrent model of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "find", lambda device, precisions: Found(ROOF, "a note on rates"))
        sources = [folders / "bert", str(folders / "llama"), "gla:nano"]
        yield lab.run(sources, GRID, device="cpu", training=True)


def model_of(profile: Profile, name: str) -> ModelProfile:
    return next(model for model in profile.models if model.name == name)


def point_of(profile: Profile, name: str, phase: str = "inference", length: int = 8) -> PointProfile:
    points = model_of(profile, name).points
    return next(point for point in points if (point.phase, point.length) == (phase, length))


def number(value: Value) -> float:
    assert value.value is not None, value.note
    return value.value


def all_values(profile: Profile) -> list[tuple[str, Value]]:
    points = chain.from_iterable(model.points for model in profile.models)
    return [entry for point in points for entry in point.values.items()]


def test_every_model_has_every_value_at_every_point(measured: Profile) -> None:
    inference = {
        *lab_values.GENERATED,
        *lab_values.BATCH,
        *lab_values.MEMORY,
        *lab_values.COSTS["prefill"],
        *lab_values.COSTS["decode"],
    }
    for model in measured.models:
        found = {(point.phase, point.batch, point.length): set(point.values) for point in model.points}
        assert found == {
            ("inference", 2, 8): inference,
            ("inference", 2, 128): inference,
            ("training", 2, 8): {*lab_values.TRAINING, *lab_values.TRAINING_MEMORY},
        }
    assert [model.name for model in measured.models] == ["bert", "llama", "gla:nano"]
    assert measured.notes == ("a note on rates",) and measured.grid == GRID


def test_numbers_are_positive_and_in_their_interval_and_times_have_a_verdict(measured: Profile) -> None:
    for name, value in all_values(measured):
        if value.value is None:
            continue
        assert value.value > 0 or name in ("activation_bytes",)
        if value.unit in ("ms", "tokens/s", "examples/s"):
            assert value.verdict and value.n and value.drift_p is not None


def test_reasons_are_the_right_ones(measured: Profile) -> None:
    beyond = "not measured: the model has 64 positions, 128 are needed"
    encoder = point_of(measured, "bert", length=128).values
    for name in ("batch_latency_ms", "peak_memory_bytes", "prefill_flops", "prefill_roofline_share"):
        assert encoder[name].note == beyond
    for name in ("ttft_ms", "tpot_ms", "decode_flops", "state_bytes"):
        assert point_of(measured, "bert").values[name].note == "not measured: not a generative model"
    assert not any(value.value is None for value in point_of(measured, "gla:nano").values.values())


def test_rates_belong_to_their_times(measured: Profile) -> None:
    for name in ("llama", "gla:nano"):
        values = point_of(measured, name).values
        assert number(values["decode_tokens_per_s"]) == pytest.approx(2e3 / number(values["tpot_ms"]))
        whole = number(values["batch_latency_ms"])
        assert number(values["throughput_tokens_per_s"]) == pytest.approx(1e3 * 2 * (8 + DECODE) / whole)
        assert whole > number(values["ttft_ms"]) and whole > (DECODE - 1) * 0.5 * number(values["tpot_ms"])
        speed = values["decode_tokens_per_s"]
        assert speed.low == pytest.approx(2e3 / (values["tpot_ms"].high or 0))
    values = point_of(measured, "bert").values
    assert number(values["throughput_tokens_per_s"]) == pytest.approx(
        1e3 * 2 * 8 / number(values["batch_latency_ms"])
    )


def test_shares_of_the_roofline_are_least_times_over_measured_ones(measured: Profile) -> None:
    from trilemma.models.sizes import configuration
    from trilemma.profiling.measurements import work
    from trilemma.profiling.points import Point

    config = configuration("gla", "nano", variants.VOCABULARY)
    values = point_of(measured, "gla:nano", length=128).values
    least = work.prefill(config, "float32", ROOF, Point(2, 128), logits=1)
    assert number(values["prefill_flops"]) == pytest.approx(least.flops)
    assert number(values["prefill_bytes"]) == pytest.approx(least.bytes)
    share = 1e3 * (least.least_seconds or 0) / number(values["ttft_ms"])
    assert number(values["prefill_roofline_share"]) == pytest.approx(share)
    assert values["prefill_roofline_share"].note.startswith("bound by ")


def test_peaks_are_the_sum_of_their_parts(measured: Profile) -> None:
    for model in measured.models:
        for point in model.points:
            if point.values["peak_memory_bytes"].value is None:
                continue
            names = lab_values.TRAINING_PARTS if point.phase == "training" else lab_values.PARTS
            parts = [point.values[name].value or 0.0 for name in (*names, "activation_bytes")]
            assert sum(parts) >= number(point.values["peak_memory_bytes"]) - 1
            assert point.values["peak_memory_bytes"].n


def test_states_and_weights_are_exact(measured: Profile, folders: Path) -> None:
    config = json.loads((folders / "llama" / "config.json").read_text("utf-8"))
    token = 2 * config["num_hidden_layers"] * config["hidden_size"] * 4
    for length in (8, 128):
        values = point_of(measured, "llama", length=length).values
        assert number(values["state_bytes"]) == 2 * (length + DECODE - 1) * token
    states = [point_of(measured, "gla:nano", length=length).values["state_bytes"] for length in (8, 128)]
    assert states[0] == states[1]
    described = loading.describe(loading.load_language_model(folders / "llama"))
    assert number(point_of(measured, "llama").values["weight_bytes"]) == described.weight_bytes


def test_training_has_its_parts(measured: Profile, folders: Path) -> None:
    values = point_of(measured, "llama", "training").values
    model = loading.load_classifier(folders / "llama", 2, seed=0)
    weights = sum(parameter.numel() * 4 for parameter in model.parameters())
    assert number(values["weight_bytes"]) == number(values["gradient_bytes"]) == weights
    steps = 4 * len(list(model.parameters()))  # AdamW counts its steps for each tensor
    assert number(values["optimiser_bytes"]) == 2 * weights + steps
    assert number(values["training_examples_per_s"]) == pytest.approx(2e3 / number(values["step_ms"]))
    parts = [number(values[f"{part}_ms"]) for part in ("data", "forward", "backward", "optimiser")]
    assert all(part < number(values["step_ms"]) for part in parts)


class Clock:
    """Every look at it is a millisecond after the last."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


def test_times_are_of_the_parts_between_looks_at_the_clock(folders: Path, no_memory: list[Work]) -> None:
    profile = lab.run([folders / "llama"], QUICK, device="cpu", training=True, clock=Clock())
    values = point_of(profile, "llama").values
    assert number(values["ttft_ms"]) == pytest.approx(1.0)
    assert number(values["tpot_ms"]) == pytest.approx(1 / (DECODE - 1))
    assert number(values["batch_latency_ms"]) == pytest.approx(2.0)
    assert values["ttft_ms"].verdict == "steady"
    values = point_of(profile, "llama", "training").values
    assert [number(values[f"{part}_ms"]) for part in lab_values.STEP] == pytest.approx([1.0] * 4)
    assert number(values["step_ms"]) == pytest.approx(4.0)


def test_without_decoding_only_the_prompt_is_timed(folders: Path, no_memory: list[Work]) -> None:
    profile = lab.run(
        [folders / "llama"], QUICK.model_copy(update={"decode": 0}), device="cpu", clock=Clock()
    )
    values = point_of(profile, "llama").values
    for name in ("tpot_ms", "decode_tokens_per_s", "decode_flops", "decode_roofline_share"):
        assert values[name].note == "not measured: no tokens to decode were asked for"
    assert number(values["ttft_ms"]) == pytest.approx(1.0) and no_memory[0].decode == 0
    assert point_of(profile, "llama").decode == 0


def test_forms_are_told_apart_and_weigh_what_they_should(folders: Path, no_memory: list[Work]) -> None:
    dtypes = ("float32", "bfloat16", "int8")
    with variants.opened([folders / "llama"], dtypes=dtypes) as opened:
        session = Session([one.subject for one in opened], QUICK, device="cpu", clock=Clock())
        models = session.language_models()
        weights = [one.description.weight_bytes for one in models]
        counted = {one.description.parameters for one in models}
        session.release()
        profile = lab.measure(opened, QUICK, device="cpu", training=True, clock=Clock())
    assert [model.name for model in profile.models] == [f"llama {dtype}" for dtype in dtypes]
    assert [model.dtype for model in profile.models] == list(dtypes)
    assert len(counted) == 1 and weights[1] == weights[0] / 2
    linear = [module for module in models[0].model.modules() if type(module) is torch.nn.Linear]
    quantised = sum(module.weight.numel() for module in linear)
    assert quantised > 0.5 * weights[0] / 4
    assert weights[2] == weights[0] - 3 * quantised
    assert point_of(profile, "llama int8", "training").values["step_ms"].note == (
        "not measured: int8 weights cannot be trained"
    )
    assert {work.subject.form for work in no_memory if work.adaptation} == {"plain"}


def test_packed_weights_are_those_of_matmul_free_models(no_memory: list[Work]) -> None:
    profile = lab.run(["matmul-free:nano"], QUICK, dtypes=["float32", "packed"], device="cpu")
    plain, packed = profile.models
    assert (plain.dtype, packed.dtype) == ("float32", "packed") and "packed" not in plain.kernel
    assert plain.parameters == packed.parameters
    assert "packed" in packed.kernel or "unpacked" in packed.kernel
    with pytest.raises(ModelError, match=r"gla:nano \(model type gla\) has no ternary weights"):
        lab.run(["matmul-free:nano", "gla:nano"], QUICK, dtypes=["packed"], device="cpu")


def test_a_form_that_one_model_lacks_is_left_out_and_said(no_memory: list[Work]) -> None:
    sources = ["gla:nano", "matmul-free:nano"]
    profile = lab.run(sources, QUICK, dtypes=["float32", "packed"], device="cpu", clock=Clock())
    names = [model.name for model in profile.models]
    assert names == ["gla:nano float32", "matmul-free:nano float32", "matmul-free:nano packed"]
    assert profile.notes[-1] == "gla:nano is not measured as packed: it has no ternary weights"


def test_a_packed_folder_has_no_other_form(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    model = loading.create("matmul-free", "nano", tokenizer, seed=0)
    model.pack()
    loading.save(model, tokenizer, tmp_path / "packed")
    with pytest.raises(ModelError, match="choose the dtype packed"):
        lab.run([tmp_path / "packed"], QUICK, device="cpu")


@pytest.mark.parametrize(
    ("save", "expected"),
    [
        (lambda folder: "gla:nano", "reaches 0% of the weights of gla:nano"),
        (
            lambda folder: (
                GPT2LMHeadModel(
                    GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64, pad_token_id=0)
                ).save_pretrained(folder)
                or str(folder)
            ),
            "of the weights of gpt2 outside",
        ),
    ],
)
def test_a_model_that_torch_cannot_quantise_is_refused(
    tmp_path: Path, save: Callable[[Path], str], expected: str
) -> None:
    with pytest.raises(ModelError, match=expected):
        lab.run([save(tmp_path / "gpt2")], QUICK, dtypes=["int8"], device="cpu")


def test_a_model_that_reaches_into_quantised_layers_is_refused(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reach(model: Any, **inputs: Any) -> Any:
        return model.lm_head.weight.dtype

    monkeypatch.setattr("transformers.LlamaForSequenceClassification.forward", reach)
    subject = ProfiledModel(("llama",), folders / "llama", form="int8")
    with pytest.raises(ModelError, match="does not run with layers that torch quantised"):
        forms.put_in_form(forms.load(subject, "cpu"), subject)


def test_attention_implementations_are_set_or_refused(folders: Path, no_memory: list[Work]) -> None:
    profile = lab.run([folders / "llama"], QUICK, attention=["eager", "sdpa"], device="cpu", clock=Clock())
    assert [(model.name, model.kernel) for model in profile.models] == [
        ("llama eager", "eager"),
        ("llama sdpa", "sdpa"),
    ]
    with pytest.raises(ModelError, match="cannot attend by 'nope'"):
        lab.run([folders / "llama"], QUICK, attention=["nope"], device="cpu")
    with pytest.raises(ModelError, match="kernels of its own"):
        lab.run(["gla:nano"], QUICK, attention=["eager"], device="cpu")


def test_compiling_happens_before_the_clock_runs(
    folders: Path, no_memory: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    lengths: list[int] = []
    generate = generation.generate

    def counting(model: Any, prompt: torch.Tensor, *rest: Any) -> Any:
        lengths.append(prompt.shape[1])
        return generate(model, prompt, *rest)

    monkeypatch.setattr(torch.nn.Module, "compile", lambda model: compiled.append(type(model).__name__))
    monkeypatch.setattr(generation, "generate", counting)
    profile = lab.run([folders / "llama"], QUICK, compiled=True, device="cpu", clock=Clock())
    assert profile.models[0].compiled and "LlamaForCausalLM" in compiled
    once = len(lengths)
    lengths.clear()
    lab.run([folders / "llama"], QUICK, device="cpu", clock=Clock())
    assert once == len(lengths) + 1


def test_running_out_of_memory_or_time_is_a_record(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = generation.generate

    def limited(model: Any, prompt: torch.Tensor, *rest: Any) -> Any:
        if prompt.shape[1] > 8:
            raise OutOfMemoryError
        return generate(model, prompt, *rest)

    def peaks(session: Session, works: Sequence[Work]) -> Iterator[Unmeasured]:
        yield from (Unmeasured("a repetition takes over 30 s") for _ in works)

    monkeypatch.setattr(generation, "generate", limited)
    monkeypatch.setattr(lab, "in_fresh_processes", peaks)
    profile = lab.run([folders / "llama"], GRID, device="cpu", training=True, clock=Clock())
    large = point_of(profile, "llama", length=128).values
    for name in ("ttft_ms", "tpot_ms", "batch_latency_ms", "prefill_roofline_share"):
        assert large[name].note == "not measured: out of memory"
    assert number(large["prefill_flops"]) > 0
    assert number(point_of(profile, "llama").values["ttft_ms"]) > 0
    for phase in ("inference", "training"):
        values = point_of(profile, "llama", phase).values
        assert values["peak_memory_bytes"].note == "not measured: a repetition takes over 30 s"


def test_operations_of_an_unknown_family_are_counted(tmp_path: Path, no_memory: list[Work]) -> None:
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=2, pad_token_id=0)
    BloomForCausalLM(config).save_pretrained(tmp_path / "bloom")
    values = point_of(lab.run([tmp_path / "bloom"], QUICK, device="cpu"), "bloom").values
    weights = 12 * 32 * 32 + 32 * 64  # attention and MLP of the layer, and the head
    assert number(values["prefill_flops"]) == pytest.approx(2 * 16 * weights, rel=0.2)
    for name in ("prefill_bytes", "prefill_roofline_share", "decode_flops"):
        assert values[name].note.startswith(
            "not measured: operations of a model of type 'bloom' are not known"
        )
    assert number(values["ttft_ms"]) > 0


def test_above_the_roof_a_share_says_why(
    folders: Path, no_memory: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = ROOF.model_copy(update={"bandwidth": 1.0})
    monkeypatch.setattr(roofline, "find", lambda device, precisions: Found(slow, ""))
    share = point_of(lab.run([folders / "llama"], QUICK, device="cpu"), "llama").values[
        "decode_roofline_share"
    ]
    assert number(share) > 1 and "above 1" in share.note


def test_each_adaptation_is_trained_by_itself(folders: Path, no_memory: list[Work]) -> None:
    methods = tuple(AdaptSettings(method=method) for method in ("full", "linear-probe"))
    subject = ProfiledModel(("llama",), folders / "llama", form="plain", adaptations=methods)
    profile = lab.measure([variants.Variant("llama", subject)], QUICK, device="cpu", training=True)
    points = [point for point in profile.models[0].points if point.phase == "training"]
    assert [point.adaptation for point in points] == ["full", "linear-probe"]
    assert [work.adaptation.method for work in no_memory if work.adaptation] == ["full", "linear-probe"]


def test_progress_reaches_the_end(folders: Path, no_memory: list[Work]) -> None:
    told: list[tuple[float, float, str]] = []
    lab.run([folders / "bert"], QUICK, device="cpu", progress=lambda *report: told.append(report))
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares) and shares[-1] == 1


def test_a_model_from_scratch_is_the_same_each_time() -> None:
    def weights() -> Mapping[str, torch.Tensor]:
        with variants.opened(["gla:nano"]) as (one,):
            model = loading.load_language_model(one.subject.folder)
            return {name: parameter.clone() for name, parameter in model.named_parameters()}

    before = torch.get_rng_state()
    first, second = weights(), weights()
    assert torch.equal(before, torch.get_rng_state())
    assert all(first[name].equal(second[name]) for name in first)
    with variants.opened(["gla:nano"]) as (one,):
        folder = one.subject.folder
    assert not folder.exists()


def test_folders_of_one_name_keep_their_paths(tmp_path: Path) -> None:
    paths = [save_bert(tmp_path / parent / "bert") for parent in ("a", "b")]
    with variants.opened(paths) as opened:
        assert [one.subject.name for one in opened] == [str(path) for path in paths]


@pytest.mark.parametrize(
    ("sources", "options", "expected"),
    [
        ([], {}, "name at least one model"),
        (["gla:nano", "gla:nano"], {}, "gla:nano is named twice"),
        (["gla:huge"], {}, "unknown size 'huge'; known: nano"),
        (["gpt:nano"], {}, "unknown architecture 'gpt'"),
        (["./absent"], {}, "the model folder './absent' does not exist"),
        (["gla:nano"], {"dtypes": ["float8"]}, "unknown dtype 'float8'"),
        (["gla:nano"], {"dtypes": ["bfloat17"]}, "did you mean bfloat16"),
        (["gla:nano"], {"dtypes": []}, "at least one dtype"),
        (["gla:nano"], {"dtypes": ["int8", "int8"]}, "each once"),
        (["gla:nano"], {"device": "cuda:7"}, "there is no device 'cuda:7' here; known: cpu"),
        (["gla:nano"], {"device": "gpu"}, "there is no device 'gpu'"),
        (["gla:nano"], {"device": "meta"}, "there is no device 'meta'"),
    ],
)
def test_bad_input_is_one_sentence(sources: list[str], options: dict[str, Any], expected: str) -> None:
    with pytest.raises(TrilemmaError) as refused:
        lab.run(sources, QUICK, **options)
    assert expected in str(refused.value) and "\n" not in str(refused.value)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="has no weights"):
        lab.run([tmp_path], QUICK)
