"""Work of the phases as a study records it: by the configuration, with the machine's least time for it."""

from pathlib import Path

import pytest
from transformers import BloomConfig, BloomForCausalLM

from tests.stand_ins.tiny_models import POSITIONS, byte_tokenizer, save_bert
from trilemma.hardware.roofline import Found, Roofline
from trilemma.models import loading
from trilemma.ops.ternary.packed import multiplies_packed
from trilemma.profiling import EfficiencyGrid, ProfiledModel, profile
from trilemma.profiling.measurements import work
from trilemma.profiling.operations import Operation, forward, shape_of
from trilemma.records import Record

DECODE = 5
BATCH, LENGTH = 2, 8
BANDWIDTH, RATE = 1e10, 1e11
GRID = EfficiencyGrid.model_validate({"batch": [BATCH], "length": [LENGTH, 2 * POSITIONS], "decode": DECODE})
ROOF = Roofline(machine="made up", bandwidth=BANDWIDTH, flops={"float32": RATE, "packed": 2e11})

asked: list[str] = []


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(device: str, precisions: list[str]) -> Found:
        asked[:] = precisions
        return Found(ROOF, "a note on rates")

    monkeypatch.setattr(work, "find", find)


def own(arch: str, folder: Path) -> Path:
    tokenizer = byte_tokenizer()
    loading.save(loading.create(arch, "nano", tokenizer, seed=0), tokenizer, folder / arch)
    return folder / arch


def measured(folder: Path, grid: EfficiencyGrid = GRID) -> dict[tuple[str, int | None], Record]:
    models = [ProfiledModel(("model",), folder)]
    records = profile(models, grid, measurements=["work"], device="cpu")
    values = {(record.metric, record.length): record for record in records}
    assert len(values) == len(records)
    return values


def least_milliseconds(operations: list[Operation]) -> float:
    return 1e3 * sum(max(one.flops / RATE, one.bytes / BANDWIDTH) for one in operations)


def test_every_phase_has_the_work_that_the_configuration_gives(tmp_path: Path) -> None:
    folder = own("transformer-pp", tmp_path)
    shape = shape_of(loading.load_classifier(folder, 2, seed=0).config)
    values = measured(folder)
    passes = {
        "classify": [forward(shape, BATCH, LENGTH, LENGTH, "float32", logits=0)],
        "prefill": [forward(shape, BATCH, LENGTH, LENGTH, "float32", logits=1)],
        # the last token is chosen, but not fed back
        "decode_step": [
            forward(shape, BATCH, 1, LENGTH + step, "float32", logits=1) for step in range(1, DECODE)
        ],
    }
    for phase, done in passes.items():
        for what in ("flops", "bytes"):
            expected = sum(getattr(one, what) for each in done for one in each) / len(done)
            assert values[f"{phase}_{what}", LENGTH].value == pytest.approx(expected)
        least = values[f"{phase}_least_ms", LENGTH]
        assert least.value == pytest.approx(sum(map(least_milliseconds, done)) / len(done))
        assert least.note in ("bound by memory", "bound by compute") and least.batch == BATCH
    flops = [values[f"{phase}_flops", LENGTH].value or 0 for phase in ("decode_step", "classify", "prefill")]
    assert flops == sorted(flops)


def test_the_machines_rates_stand_at_every_model(tmp_path: Path) -> None:
    values = measured(own("gla", tmp_path))
    assert values["machine_bytes_per_s", None].value == BANDWIDTH
    assert values["machine_bytes_per_s", None].note == "a note on rates"
    assert values["machine_flops_per_s", None].value == RATE
    assert values["machine_flops_per_s", None].note == "products in float32" and asked == ["float32"]


def test_ternary_weights_are_multiplied_as_they_are_deployed(tmp_path: Path) -> None:
    values = measured(own("matmul-free", tmp_path))
    if multiplies_packed("cpu"):
        assert asked == ["packed"] and values["machine_flops_per_s", None].value == 2e11
        return
    assert asked == ["int8"]
    lacking = "not measured: this machine multiplies no matrices in int8"
    for metric, length in (("machine_flops_per_s", None), ("classify_least_ms", LENGTH)):
        assert values[metric, length].value is None and values[metric, length].note == lacking
    assert values["classify_flops", LENGTH].value


def test_what_a_machine_cannot_multiply_has_no_least_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = ROOF.model_copy(update={"flops": {}})
    monkeypatch.setattr(work, "find", lambda device, precisions: Found(slow, ""))
    values = measured(own("gla", tmp_path))
    for metric, length in (("machine_flops_per_s", None), ("prefill_least_ms", LENGTH)):
        assert values[metric, length].value is None
        assert values[metric, length].note == "not measured: this machine multiplies no matrices in float32"
    assert values["prefill_bytes", LENGTH].value and values["machine_bytes_per_s", None].value


def test_an_encoder_only_classifies_and_ends_at_its_positions(tmp_path: Path) -> None:
    values = measured(save_bert(tmp_path / "bert"))
    phases = {metric.rsplit("_", 1)[0] for metric, length in values if length is not None}
    assert phases == {"classify", "classify_least"}
    assert values["classify_flops", LENGTH].value
    beyond = values["classify_bytes", 2 * POSITIONS]
    assert beyond.value is None and beyond.note.startswith(f"not measured: the model has {POSITIONS} ")


def test_without_tokens_to_decode_there_is_no_work_of_generation(tmp_path: Path) -> None:
    values = measured(own("gla", tmp_path), GRID.model_copy(update={"decode": 0}))
    assert not [metric for metric, _ in values if metric.startswith(("prefill", "decode"))]
    assert values["classify_flops", LENGTH].value


def test_an_unknown_family_is_not_measured_and_says_so(tmp_path: Path) -> None:
    config = BloomConfig(vocab_size=320, hidden_size=32, n_layer=2, n_head=2)
    BloomForCausalLM(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    values = measured(tmp_path)
    for phase in ("classify", "prefill", "decode_step"):
        for what in ("flops", "bytes", "least_ms"):
            record = values[f"{phase}_{what}", LENGTH]
            assert record.value is None
            assert record.note.startswith("not measured: operations of a model of type 'bloom' are not known")
