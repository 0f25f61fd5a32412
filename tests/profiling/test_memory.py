"""Peak memory, measured in a fresh process."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.stand_ins.tiny_models import save_llama
from trilemma.adapt import AdaptSettings
from trilemma.errors import ModelError
from trilemma.profiling import EfficiencyGrid, ProfiledModel, profile
from trilemma.profiling.measurements.memory import _Workers
from trilemma.profiling.session import Session

MIB = 2**20

linux = pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is read from Linux's /proc")


def in_a_process(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@linux
def test_peak_is_that_of_the_work_and_not_of_what_came_before() -> None:
    before, large, small = in_a_process(
        """if True:
        import json, torch
        from trilemma.hardware.peak import peak_bytes, reset_peak, resident_bytes
        def work(mib):
            if not reset_peak():
                raise SystemExit("this kernel does not reset the high-water mark")
            tensor = torch.ones(mib * 2**18)
            del tensor
            return peak_bytes()
        work(1)
        before = resident_bytes()
        print(json.dumps([before, work(200), work(50)]))"""
    )
    assert large - before == pytest.approx(200 * MIB, abs=4 * MIB)
    assert small - before == pytest.approx(50 * MIB, abs=4 * MIB)


@linux
def test_an_allocation_beyond_the_ceiling_fails_instead_of_killing() -> None:
    outcome = in_a_process(
        """if True:
        import json, torch
        from unittest import mock
        from trilemma.hardware import limits
        outcome = []
        with mock.patch.object(limits, "available_memory", lambda: 200 * 2**20):
            try:
                with limits.memory_ceiling():
                    torch.empty(2**30)
            except limits.OutOfMemoryError:
                outcome.append("out of memory")
        outcome.append(torch.ones(2**26).numel())  # the ceiling is gone
        print(json.dumps(outcome))"""
    )
    assert outcome == ["out of memory", 2**26]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> ProfiledModel:
    """32 MiB of embeddings, hardly any other weights."""
    folder = tmp_path_factory.mktemp("models") / "wide"
    return ProfiledModel(("wide",), save_llama(folder, vocab_size=2**18, tie_word_embeddings=True))


@linux
def test_weights_gradients_and_optimiser_state_are_in_the_peaks(wide: ProfiledModel) -> None:
    grid = EfficiencyGrid.model_validate(
        {"batch": [1], "length": [8], "training": {"batch": [1], "length": [8, 512]}}
    )
    records = profile([wide], grid, measurements=["memory"], device="cpu")
    values = {(record.metric, record.length): record.value for record in records}
    weights = 2**18 * 32 * 4
    assert values["peak_inference_memory_bytes", 8] == pytest.approx(weights, abs=4 * MIB)
    # The weights, their dense gradient and AdamW's two moments.
    assert values["peak_training_memory_bytes", 8] == pytest.approx(4 * weights, rel=0.1)
    for record in records:
        assert record.unit == "bytes" and record.n
        assert (record.low is None) == (record.n < 6)  # a slow machine repeats less often
        assert record.low is None or record.low <= (record.value or 0) <= (record.high or 0)
    assert "weights included" in records[0].note


@linux
def test_each_adaptation_has_its_own_peak(wide: ProfiledModel) -> None:
    grid = EfficiencyGrid.model_validate(
        {"batch": [1], "length": [8], "training": {"batch": [1], "length": [8]}}
    )
    methods = ("full", "linear-probe", "lora")
    subject = replace(wide, adaptations=tuple(AdaptSettings(method=method) for method in methods))
    records = profile([subject], grid, measurements=["memory"], device="cpu")
    peaks = {r.adaptation: r.value or 0 for r in records if r.metric == "peak_training_memory_bytes"}
    assert tuple(peaks) == methods and records[0].adaptation == ""
    weights = 2**18 * 32 * 4
    assert peaks["full"] > 3.5 * weights
    for method in ("linear-probe", "lora"):  # embeddings have neither gradient nor moments
        assert peaks[method] == pytest.approx(weights, abs=8 * MIB)


def test_a_worker_that_takes_too_long_is_ended(wide: ProfiledModel) -> None:
    session = Session([wide], EfficiencyGrid(time_limit=1e-6), device="cpu", clock=lambda: 0.0)
    workers = _Workers(session, wide)
    with pytest.raises(TimeoutError):
        workers.ask({"batch": 1, "length": 8, "adaptation": None})
    assert workers._process is None


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    subject = ProfiledModel(("broken",), tmp_path)
    workers = _Workers(Session([], EfficiencyGrid(), device="cpu", clock=lambda: 0.0), subject)
    with pytest.raises(ModelError, match=r"memory of broken cannot be measured: .*ModelError"):
        workers.ask({"batch": 1, "length": 8, "adaptation": None})
