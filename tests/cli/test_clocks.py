"""``trilemma profile --frequencies`` on stand-in clocks and a stand-in meter."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.stand_ins.clocks import contents, save_policies
from trilemma.cli.clocks import Sweep, by_frequency
from trilemma.cli.main import app
from trilemma.clocks import settings
from trilemma.clocks.settings import ClockError, CpuClocks
from trilemma.errors import TrilemmaError
from trilemma.hardware.meters import Meter
from trilemma.profiling import EfficiencyGrid, variants
from trilemma.profiling.measurements import energy
from trilemma.profiling.points import Unmeasured

MEASURED = Sweep([800, 3400], allow=True, slowdown=1000.0)
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


def said_of(
    found: list[variants.Variant],
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    asked: Sweep,
    grid: EfficiencyGrid,
) -> str:
    """What a sweep prints, on the clocks of a stand-in tree."""
    monkeypatch.setattr(settings, "clocks_of", lambda device: CpuClocks(root))
    console = Console(width=240, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    by_frequency(console, found, grid, "cpu", asked)
    return console.export_text()


def test_without_a_meter_the_clocks_come_back_and_the_reason_is_said(
    found: list[variants.Variant], tmp_path: Path, journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = save_policies(tmp_path / "cpufreq")
    before = contents(root)
    monkeypatch.setattr(energy, "open_meter", lambda device: Unmeasured("no meter in this test"))
    said = said_of(found, monkeypatch, root, MEASURED, GRID)
    assert "gla:nano is not measured: no meter in this test" in said
    assert "no frequency can be chosen: no phase has both its time and its energy" in said
    assert contents(root) == before
    assert "the clock was 2200 MHz: something else decided" in said


def test_without_permission_nothing_is_touched(
    found: list[variants.Variant], tmp_path: Path, journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = save_policies(tmp_path / "cpufreq")
    before = contents(root)
    with pytest.raises(ClockError, match="--allow-frequency-control"):
        said_of(found, monkeypatch, root, MEASURED._replace(allow=False), GRID)
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
    said = said_of(found, monkeypatch, root, MEASURED, GRID)
    assert contents(root) == before
    assert "gla:nano, batch 1, length 8" in said and "on the front" in said
    # Here a clock changes power and no time, so the lowest one needs least.
    assert "prefill at 800 MHz, decode at 800 MHz" in said and "classification" not in said


def test_estimates_touch_no_clock_and_meet_a_bound(
    found: list[variants.Variant], tmp_path: Path, journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = save_policies(tmp_path / "cpufreq")
    before = contents(root)
    asked = Sweep([400, 800, 3400], watts=65.0, idle_watts=5.0, slowdown=9.0, slo="ttft=1000s,tpot=1s")
    said = said_of(found, monkeypatch, root, asked, GRID)
    assert contents(root) == before and not journals.exists()
    assert "the clocks were not touched" in said and "energy, estimate" in said
    assert "least energy, estimate within 900% more time: prefill at" in said
    assert "the best single frequency, " in said
    assert "least energy, estimate with TTFT at most 1e+06 ms, TPOT at most 1000 ms: prefill at" in said


def test_a_bound_that_nothing_meets_is_said(
    found: list[variants.Variant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Sweep([800], watts=65.0, slo="ttft=1us")
    said = said_of(found, monkeypatch, tmp_path, asked, GRID)
    assert (
        "no frequency meets TTFT at most 0.001 ms: TTFT is" in said
        and "ms at the fastest, prefill at 800" in said
    )


def test_queries_are_classed(
    found: list[variants.Variant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("\n".join("word " * n for n in (1, 2, 3, 30, 40, 50)))
    grid = GRID.model_copy(update={"length": [8, 64]})
    asked = Sweep([800, 3400], watts=65.0, queries=file)
    asked = asked._replace(report=tmp_path / "sweep.html")
    said = said_of(found, monkeypatch, tmp_path, asked, grid)
    page = (tmp_path / "sweep.html").read_text("utf-8")
    assert "energy, estimate" in page and "the clocks were not touched" in page
    assert "gla:nano, batch 1, 6 queries" in said and "length below 3 (2 queries" in page
    assert "lengths in words and marks, as the model has no tokenizer" in said
    assert "length below 3 (2 queries, measured at 8): prefill at" in said
    assert "length from 40 (2 queries, measured at 64): prefill at" in said


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--slo", "ttft=1ms"], "belong to --frequencies"),
        (["--frequencies", "800", "--watts", "65", "--allow-frequency-control"], "leave out one of the two"),
        (["--frequencies", "800", "--watts", "5", "--idle-watts", "6"], "no powers of a device"),
        (["--frequencies", "800", "--watts", "65", "--slo", "speed=1ms"], "is no bound like"),
        (["--frequencies", "800", "--watts", "65", "--queries", "absent.txt"], "no file"),
        (["--frequencies", "fast"], "whole numbers"),
        (["--frequencies", "800", "--training"], "trains nothing and writes no profile"),
        (["--frequencies", "800", "--device", "cuda:9"], "no device"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: list[str], match: str) -> None:
    result = CliRunner().invoke(app, ["profile", "gla:nano", "--batch", "1", "--length", "8", *arguments])
    assert isinstance(result.exception, TrilemmaError) and match in str(result.exception)
