"""Peak memory, measured by processes of its own."""

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.stand_ins.measured import MACHINE, MIB, NO_METER, Found
from tests.stand_ins.tiny_models import byte_tokenizer, save_llama
from trilemma.adapt import AdaptSettings
from trilemma.hardware import Unmeasured
from trilemma.models import loading
from trilemma.operating_point import OperatingPoint
from trilemma.profiling import EfficiencyGrid, ModelUnderTest, measure
from trilemma.profiling.peaks import KILLED, Peak, Work, peaks_by_process
from trilemma.profiling.session import Session

linux = pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is read from Linux's /proc")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> ModelUnderTest:
    """32 MiB of embeddings, hardly any other weights."""
    folder = tmp_path_factory.mktemp("models") / "wide"
    methods = tuple(AdaptSettings(method=method) for method in ("full", "linear-probe", "lora"))
    save_llama(folder, vocab_size=2**18, tie_word_embeddings=True)
    return ModelUnderTest(("wide",), folder, precision="float32", adaptations=methods)


@linux
def test_weights_gradients_and_optimiser_state_are_in_the_peaks(wide: ModelUnderTest) -> None:
    short, long = OperatingPoint(1, 8), OperatingPoint(1, 512)
    works = [Work(wide, "classify", short), Work(wide, "classify", long)]
    works += [Work(wide, "train", short, settings) for settings in wide.adaptations]
    classified, lengthened, full, *frozen = peaks_by_process(works, "cpu", 60)
    weights = 2**18 * 32 * 4
    for peak in (classified, lengthened, full, *frozen):
        assert isinstance(peak, Peak) and (peak.low is None) == (
            peak.n < 6
        )  # slow machines repeat less often
        assert peak.low is None or peak.low <= peak.bytes <= (peak.high or 0)
        assert "weights included" in peak.note and peak.parts["weights"] == pytest.approx(weights, rel=0.01)
    assert isinstance(classified, Peak) and isinstance(lengthened, Peak) and isinstance(full, Peak)
    assert classified.bytes == pytest.approx(weights, abs=4 * MIB) and lengthened.bytes > classified.bytes
    # The weights, their dense gradient and AdamW's two moments.
    assert full.bytes == pytest.approx(4 * weights, rel=0.1)
    assert full.parts["gradients"] == pytest.approx(weights, rel=0.01)
    assert full.parts["optimiser"] == pytest.approx(2 * weights, rel=0.01)
    for peak in frozen:  # embeddings have neither gradient nor moments
        assert isinstance(peak, Peak) and peak.bytes == pytest.approx(weights, abs=8 * MIB)


@linux
def test_the_state_is_that_of_the_whole_batch_after_the_last_token_that_is_fed(tmp_path: Path) -> None:
    models = []
    for arch in ("transformer-pp", "gla"):
        tokenizer = byte_tokenizer()
        loading.save(loading.create(arch, "nano", tokenizer, seed=0), tokenizer, tmp_path / arch)
        models.append(ModelUnderTest((arch,), tmp_path / arch))
    grid = EfficiencyGrid(batch=[1, 3], length=[8, 16], decode=4, phases=["generate"], training=None)
    found = Found(measure(Session(models, grid, device="cpu", machine=MACHINE, meter=NO_METER), ["memory"]))
    config = json.loads((tmp_path / "transformer-pp" / "config.json").read_text())
    token = 2 * config["num_hidden_layers"] * config["hidden_size"] * 4
    states = {(one.model, one.batch, one.length): one.value for one in found.all("state_bytes", "generate")}
    for batch in (1, 3):
        for length in (8, 16):
            assert states["transformer-pp", batch, length] == batch * (length + 3) * token
            assert states["gla", batch, length] == batch * (states["gla", 1, 8] or 0)
    weights = loading.describe(loading.load_language_model(tmp_path / "gla")).weight_bytes
    place = {"model": "gla", "batch": 3, "length": 16}
    peak, left = (found.value(f"{name}_bytes", "generate", **place) for name in ("peak_memory", "activation"))
    assert left == max(0.0, peak - weights - (states["gla", 3, 16] or 0)) and peak > weights


def test_a_process_that_takes_too_long_is_ended_and_begun_again(wide: ModelUnderTest) -> None:
    works = [Work(wide, "classify", OperatingPoint(1, 8)), Work(wide, "classify", OperatingPoint(1, 16))]
    first, second = peaks_by_process([*works], "cpu", 1e-6)
    assert first == Unmeasured("a repetition takes over 1e-06 s")
    assert second == Unmeasured("a repetition takes over 1e-06 s already at batch 1, length 8")


def test_a_process_that_fails_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    broken = ModelUnderTest(("broken",), tmp_path)
    fine = ModelUnderTest(("fine",), save_llama(tmp_path / "fine"))
    works = [
        Work(model, "classify", OperatingPoint(1, length)) for model in (broken, fine) for length in (4, 8)
    ]
    first, second, third, fourth = peaks_by_process(works, "cpu", 60)
    assert isinstance(first, Unmeasured) and first.failed and "config.json" in first.reason
    assert isinstance(second, Unmeasured) and second.failed
    assert isinstance(third, Peak) and isinstance(fourth, Peak)


def test_what_ends_the_process_is_a_reason(wide: ModelUnderTest) -> None:
    works = [Work(wide, "classify", OperatingPoint(1, length)) for length in (4, 8)]
    first, second = peaks_by_process(works, "no such device", 60)
    assert isinstance(first, Unmeasured) and first.failed and first == second
    assert first.reason.startswith("the process that measures memory failed with RuntimeError")


def _killing(pid: int, times: int, stop: threading.Event) -> None:
    """Kill so many of the workers of a process, as soon as each is there."""
    seen: set[int] = set()
    while len(seen) < times and not stop.wait(0.02):
        for child in psutil.Process(pid).children():
            with suppress(psutil.Error):
                if child.pid not in seen and "peak_worker" in " ".join(child.cmdline()):
                    seen.add(child.pid)
                    child.send_signal(signal.SIGTERM if len(seen) == 2 else signal.SIGKILL)


@linux
@pytest.mark.parametrize("times", [1, 2])
def test_a_process_that_is_killed_from_outside_is_not_out_of_memory(wide: ModelUnderTest, times: int) -> None:
    stop = threading.Event()
    killer = threading.Thread(target=_killing, args=(os.getpid(), times, stop))
    killer.start()
    try:
        works = [Work(wide, "classify", OperatingPoint(1, length)) for length in (8, 16)]
        first, second = peaks_by_process(works, "cpu", 60)
    finally:
        stop.set()
        killer.join()
    assert isinstance(second, Peak)  # once left alone
    assert isinstance(first, Peak) if times == 1 else first == KILLED and KILLED.interrupted
