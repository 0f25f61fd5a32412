"""``trilemma profile --frequencies`` on stand-in clocks and a stand-in meter."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from clock_stand_ins import contents, save_policies
from trilemma.cli import app
from trilemma.cli_frequency import sweep_frequencies
from trilemma.errors import TrilemmaError
from trilemma.profile import EfficiencyGrid, energy, variants
from trilemma.profile.clocks import ClockError, CpuClocks
from trilemma.profile.meters import Meter
from trilemma.profile.points import Unmeasured

GRID = EfficiencyGrid(batch=[1], length=[8], decode=3, rounds=6, seconds=0.02)


@pytest.fixture(scope="module")
def found() -> Iterator[list[variants.Variant]]:
    with variants.opened(["gla:nano"], dtypes=["float32"]) as one:
        yield one


@pytest.fixture
def journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


class ByClock:
    """A meter whose power depends on the clock that is set: 10 W idle, 20 W at 800 MHz, 90 W at 3.4 GHz."""

    source, shortest = "stand-in of the socket", 0.01

    def __init__(self, root: Path, clock: "list[float]") -> None:
        self.root, self.now = root, clock

    def read(self) -> dict[str, float]:
        import time

        khz = int((self.root / "policy0" / "scaling_max_freq").read_text())
        watts = {800_000: 20.0, 3_400_000: 90.0}.get(khz, 10.0)
        now = time.perf_counter()
        self.now[1] += watts * (now - self.now[0])
        self.now[0] = now
        return {"socket": self.now[1]}

    def close(self) -> None:
        pass


def run(found: list[variants.Variant], root: Path, allow: bool = True) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    sweep_frequencies(console, CpuClocks(root), found, GRID, "cpu", [800, 3400], allow=allow, slowdown=1000.0)
    return console.export_text()


def test_without_a_meter_the_clocks_come_back_and_the_reason_is_said(
    found: list[variants.Variant], tmp_path: Path, journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = save_policies(tmp_path / "cpufreq")
    before = contents(root)
    monkeypatch.setattr(energy, "open_meter", lambda device: Unmeasured("no meter in this test"))
    said = run(found, root)
    assert "no frequency can be chosen by its energy, which was not measured: no meter in this test" in said
    assert contents(root) == before
    assert "the clock was 2200 MHz: something else decided" in said


def test_without_permission_nothing_is_touched(
    found: list[variants.Variant], tmp_path: Path, journals: Path
) -> None:
    root = save_policies(tmp_path / "cpufreq")
    before = contents(root)
    with pytest.raises(ClockError, match="--allow-frequency-control"):
        run(found, root, allow=False)
    assert contents(root) == before and not journals.exists()


def test_each_phase_gets_a_frequency(
    found: list[variants.Variant], tmp_path: Path, journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    root = save_policies(tmp_path / "cpufreq")
    before = contents(root)
    state = [time.perf_counter(), 0.0]
    meter: Meter = ByClock(root, state)  # type: ignore[assignment]
    monkeypatch.setattr(energy, "open_meter", lambda device: meter)
    said = run(found, root)
    assert contents(root) == before
    assert "gla:nano, batch 1, length 8" in said and "on the front" in said
    # Here a clock changes power and no time, so the lowest one needs least.
    assert "prefill at 800 MHz, decode at 800 MHz" in said and "classification at 800 MHz" in said


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--frequencies", "fast"], "whole numbers"),
        (["--frequencies", "800", "--training"], "leave out --out and --training"),
        (["--frequencies", "800", "--device", "cuda:9"], "no device"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: list[str], match: str) -> None:
    result = CliRunner().invoke(app, ["profile", "gla:nano", "--batch", "1", "--length", "8", *arguments])
    assert isinstance(result.exception, TrilemmaError) and match in str(result.exception)
