"""Clocks are set only where that is permitted, and given back however a program ends."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stand_ins.clocks import GPU, StandInNvml, contents, save_policies
from trilemma.clocks.control import (
    boot_id,
    controlled,
    journal_folder,
    recover_all,
    sweep,
)
from trilemma.clocks.settings import ClockError, Clocks, CpuClocks, NvidiaClocks, clocks_of, write_khz
from trilemma.errors import TrilemmaError

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return save_policies(tmp_path / "cpufreq")


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    return tmp_path / "journals"


def recover(clocks: Clocks, journals: Path) -> list[str]:
    """What is said where these are the clocks of the machine."""
    return recover_all(journals, lambda name: clocks)


CHILD = """
import os, signal, sys, time
from pathlib import Path
from tests.stand_ins.clocks import GPU, StandInNvml
from trilemma.clocks.settings import CpuClocks, NvidiaClocks, write_khz
from trilemma.clocks.control import controlled, sweep

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
root, journals = Path(sys.argv[1]), Path(sys.argv[2])
clocks = CpuClocks(root)

def say(word):
    print(word, flush=True)

def work(mhz):
    say("working")
    time.sleep(60)

"""
SWEEP = "sweep(clocks, [800], work, allow=True, folder=journals)\n"


@contextmanager
def child(tree: Path, journals: Path, code: str, says: str = "working") -> Iterator[subprocess.Popen[str]]:
    """A process that runs the code, once it has said that it is where it is wanted."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD + code, str(tree), str(journals)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
    )
    assert process.stdout is not None
    try:
        heard = process.stdout.readline().strip()
        assert heard == says, process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()


def pinned(tree: Path, khz: int) -> bool:
    values = contents(tree)
    limits = [
        value for name, value in values.items() if name.endswith(("scaling_min_freq", "scaling_max_freq"))
    ]
    return set(limits) == {f"{khz}\n"}


def test_a_sweep_works_at_every_frequency_and_leaves_the_tree_as_it_was(tree: Path, journals: Path) -> None:
    before = contents(tree)
    seen = []

    def work(mhz: int) -> int:
        seen.append(pinned(tree, 1000 * mhz))
        assert (journals / "cpufreq.json").exists()
        return mhz * 2

    done = sweep(CpuClocks(tree), [3400, 800, 2200], work, allow=True, folder=journals)
    assert seen == [True] * 3
    assert [(one.mhz, one.result) for one in done] == [(3400, 6800), (800, 1600), (2200, 4400)]
    assert {one.observed for one in done} == {2200.0}
    assert contents(tree) == before
    assert not (journals / "cpufreq.json").exists()


def test_without_permission_nothing_is_touched(tree: Path, journals: Path) -> None:
    before = contents(tree)
    with pytest.raises(ClockError, match="--allow-frequency-control"):
        sweep(CpuClocks(tree), [800], lambda mhz: mhz, allow=False, folder=journals)
    assert contents(tree) == before and not journals.exists()


def test_files_that_cannot_be_written_are_named(tree: Path, journals: Path) -> None:
    wanted = tree / "policy1" / "scaling_max_freq"
    clocks = CpuClocks(tree, writable=lambda path: path != wanted)
    before = contents(tree)
    with pytest.raises(ClockError, match=f"{wanted} cannot be written by this user; run as root"):
        sweep(clocks, [800], lambda mhz: mhz, allow=True, folder=journals)
    assert contents(tree) == before


def test_another_frequency_is_refused_before_any_change(tree: Path, journals: Path) -> None:
    ran = []
    with pytest.raises(ClockError, match="cpufreq has no 900 MHz; choose among 800, 2200, 2800, 3400"):
        sweep(CpuClocks(tree), [800, 900], ran.append, allow=True, folder=journals)
    assert ran == []


def test_a_machine_without_policies_says_so(tmp_path: Path, journals: Path) -> None:
    with pytest.raises(ClockError, match=r"has no policies .*estimate with --watts"):
        sweep(CpuClocks(tmp_path), [800], lambda mhz: mhz, allow=True, folder=journals)


def test_a_driver_that_names_no_frequencies_has_steps_of_100_mhz(tmp_path: Path) -> None:
    available = CpuClocks(save_policies(tmp_path / "cpufreq", steps=None)).available()
    assert available == [*range(800, 3400, 100), 3400]


def test_only_frequencies_of_all_policies_are_available(tree: Path) -> None:
    (tree / "policy1" / "scaling_available_frequencies").write_text("2800000 1500000\n")
    assert CpuClocks(tree).available() == [2800]
    (tree / "policy1" / "scaling_available_frequencies").write_text("1500000\n")
    with pytest.raises(ClockError, match="no frequency in common"):
        CpuClocks(tree).available()


def test_the_lower_limit_is_never_above_the_upper_one(tree: Path, journals: Path) -> None:
    written = []

    def checked(path: Path, khz: int) -> None:
        write_khz(path, khz)
        limits = [int((path.parent / f"scaling_{end}_freq").read_text()) for end in ("min", "max")]
        assert limits[0] <= limits[1]
        written.append(path.name)

    sweep(
        CpuClocks(tree, write=checked), [800, 3400, 2200, 2800], lambda mhz: mhz, allow=True, folder=journals
    )
    assert len(written) == 5 * 4


def test_a_kernel_that_takes_another_frequency_is_named(tree: Path, journals: Path) -> None:
    before = contents(tree)

    def clamping(path: Path, khz: int) -> None:
        write_khz(path, max(khz, 2200000) if path.parent.name == "policy1" else khz)

    with pytest.raises(ClockError, match="the kernel made 2200000 kHz of the 800000 kHz written"):
        sweep(CpuClocks(tree, write=clamping), [800], lambda mhz: mhz, allow=True, folder=journals)
    assert contents(tree) == before


def test_an_exception_gives_the_clocks_back(tree: Path, journals: Path) -> None:
    before = contents(tree)

    def work(mhz: int) -> None:
        raise ValueError("work")

    with pytest.raises(ValueError, match="work"):
        sweep(CpuClocks(tree), [800], work, allow=True, folder=journals)
    assert contents(tree) == before
    assert list(journals.glob("*.json")) == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_gives_the_clocks_back_and_then_ends_the_process(
    tree: Path, journals: Path, name: str
) -> None:
    before = contents(tree)
    number = getattr(signal, name)
    with child(tree, journals, SWEEP) as process:
        assert pinned(tree, 800000)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == -number
    assert contents(tree) == before
    assert not (journals / "cpufreq.json").exists()


def test_after_sigkill_the_clocks_are_recovered_from_the_journal(tree: Path, journals: Path) -> None:
    before = contents(tree)
    with child(tree, journals, SWEEP) as process:
        process.kill()
        process.communicate(timeout=30)
    assert pinned(tree, 800000)
    assert recover(CpuClocks(tree), journals) == [
        "the clocks (cpufreq) are as they were before a run that was killed"
    ]
    assert contents(tree) == before
    assert recover(CpuClocks(tree), journals) == []


def test_after_sigkill_the_next_sweep_gives_back_what_the_first_one_found(tree: Path, journals: Path) -> None:
    before = contents(tree)
    with child(tree, journals, SWEEP) as process:
        process.kill()
        process.communicate(timeout=30)
    sweep(CpuClocks(tree), [2800], lambda mhz: mhz, allow=True, folder=journals)
    assert contents(tree) == before


def test_a_signal_between_two_writes_gives_back_the_first(tree: Path, journals: Path) -> None:
    before = contents(tree)
    slow = """
written = []
def stop_half_way(path, khz):
    write_khz(path, khz)
    written.append(path)
    if len(written) == 1:
        say("half way")
        time.sleep(60)
clocks = CpuClocks(root, write=stop_half_way)
"""
    with child(tree, journals, slow + SWEEP, says="half way") as process:
        assert contents(tree) != before and not pinned(tree, 800000)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert contents(tree) == before


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_while_they_are_given_back_stops_nothing(tree: Path, journals: Path, name: str) -> None:
    before = contents(tree)
    slow = """
slow = []
def slowly(path, khz):
    write_khz(path, khz)
    if slow:
        slow.clear()
        say("giving back")
        time.sleep(60)
with controlled(CpuClocks(root, write=slowly), allow=True, folder=journals) as set_clock:
    set_clock(800)
    slow.append(True)
"""
    with child(tree, journals, slow, says="giving back") as process:
        assert contents(tree) != before
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=30)
    assert process.returncode == -getattr(signal, name)
    assert contents(tree) == before
    assert not (journals / "cpufreq.json").exists()


def test_a_program_that_outlives_a_signal_keeps_its_journal_until_the_end(tree: Path, journals: Path) -> None:
    before = contents(tree)
    heard = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with controlled(CpuClocks(tree), allow=True, folder=journals) as set_clock:
            set_clock(800)
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM]
            assert contents(tree) == before
            assert (journals / "cpufreq.json").exists()
            set_clock(2200)
        assert contents(tree) == before
        assert not (journals / "cpufreq.json").exists()
        assert signal.getsignal(signal.SIGTERM) is not previous
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_a_signal_that_is_ignored_stays_so(tree: Path, journals: Path) -> None:
    ignoring = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + SWEEP
    with child(tree, journals, ignoring) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        assert pinned(tree, 800000)


def test_a_fork_that_is_ended_leaves_the_clocks_to_its_parent(tree: Path, journals: Path) -> None:
    forking = """
with controlled(clocks, allow=True, folder=journals) as set_clock:
    set_clock(800)
    ready, begun = os.pipe()
    fork = os.fork()
    if fork == 0:
        os.write(begun, b".")
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    os.kill(fork, signal.SIGTERM)
    ended = os.waitpid(fork, 0)[1]
    say(f"fork ended by {os.WTERMSIG(ended)}")
    time.sleep(60)
"""
    before = contents(tree)
    with child(tree, journals, forking, says="fork ended by 15") as process:
        assert pinned(tree, 800000)
        process.terminate()
        process.communicate(timeout=30)
    assert contents(tree) == before


def test_one_process_at_a_time(tree: Path, journals: Path) -> None:
    with child(tree, journals, SWEEP):
        with pytest.raises(ClockError, match="another process sets the clocks"):
            sweep(CpuClocks(tree), [800], lambda mhz: mhz, allow=True, folder=journals)
        (refused,) = recover(CpuClocks(tree), journals)
        assert refused.startswith("another process sets the clocks")
        assert pinned(tree, 800000)


def test_clocks_are_not_set_where_no_signal_is_heard(tree: Path, journals: Path) -> None:
    refused: list[str] = []

    def attempt() -> None:
        try:
            sweep(CpuClocks(tree), [800], lambda mhz: mhz, allow=True, folder=journals)
        except ClockError as error:
            refused.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert refused == ["clocks are set from the main thread only, the one that receives signals"]


def test_clocks_that_cannot_be_given_back_keep_their_journal(tree: Path, journals: Path) -> None:
    before = contents(tree)
    refused = []

    def refusing(path: Path, khz: int) -> None:
        if refused and path.parent.name == "policy0":
            raise ClockError(f"{path} cannot be set to {khz} kHz (denied); run as root")
        write_khz(path, khz)

    with (
        pytest.raises(ClockError, match=r"policy0.scaling_max_freq cannot be set .*run as root"),
        controlled(CpuClocks(tree, write=refusing), allow=True, folder=journals) as set_clock,
    ):
        set_clock(800)
        refused.append(True)
    other = {name: value for name, value in before.items() if name.startswith("policy1")}
    assert other.items() <= contents(tree).items()
    (done,) = recover(CpuClocks(tree), journals)
    assert done.endswith("as they were before a run that was killed") and contents(tree) == before


def test_a_journal_from_before_a_reboot_is_dropped(tree: Path, journals: Path) -> None:
    journals.mkdir()
    journal = journals / "cpufreq.json"
    journal.write_text(json.dumps({"boot": "another", "found": {"policy0": [800000, 800000]}}))
    before = contents(tree)
    assert recover(CpuClocks(tree), journals) == []
    assert contents(tree) == before and not journal.exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"boot": "", "found": {"policy0": 3}}', '{"boot": "", "found": {"policy0": ["a", 1]}}'],
)
def test_a_damaged_journal_is_not_guessed_at(tree: Path, journals: Path, text: str) -> None:
    journals.mkdir()
    (journals / "cpufreq.json").write_text(text)
    (refused,) = recover(CpuClocks(tree), journals)
    assert re.search(r"cpufreq\.json .* is damaged; .*delete the file", refused)


def test_a_journal_reaches_no_file_outside_the_tree(tree: Path, journals: Path) -> None:
    outside = save_policies(tree.parent / "outside", policies=1)
    before = contents(outside)
    journals.mkdir()
    found = {"../outside/policy0": [1, 1]}
    (journals / "cpufreq.json").write_text(json.dumps({"boot": boot_id(), "found": found}))
    (refused,) = recover(CpuClocks(tree), journals)
    assert "is not a cpufreq policy" in refused
    assert contents(outside) == before


def without_a_driver(tree: Path) -> Callable[[str], Clocks]:
    """The clocks of a machine whose GPU has no driver."""

    def find(name: str) -> Clocks:
        if name == CpuClocks.name:
            return CpuClocks(tree)
        raise ClockError(f"the clock of the GPU {name.removeprefix('nvml-')} cannot be set: no driver")

    return find


def test_everything_is_recovered_and_what_cannot_be_is_a_sentence(journals: Path, tree: Path) -> None:
    before = contents(tree)
    with child(tree, journals, SWEEP) as process:
        process.kill()
        process.communicate(timeout=30)
    (journals / f"nvml-{GPU}.json").write_text(json.dumps({"boot": boot_id(), "found": {}}))
    recovered, failed = recover_all(journals, without_a_driver(tree))
    assert recovered.startswith("the clocks (cpufreq) are as they were")
    assert failed == f"the clock of the GPU {GPU} cannot be set: no driver"
    assert contents(tree) == before


def test_a_gpu_from_before_a_reboot_is_not_mentioned(journals: Path, tree: Path) -> None:
    journals.mkdir()
    journal = journals / f"nvml-{GPU}.json"
    journal.write_text(json.dumps({"boot": "another", "found": {}}))
    assert recover_all(journals, without_a_driver(tree)) == [] and not journal.exists()


def test_listed_frequencies_that_are_not_numbers_are_one_sentence(tree: Path) -> None:
    (tree / "policy0" / "scaling_available_frequencies").write_text("fast slow")
    with pytest.raises(ClockError, match=r"scaling_available_frequencies cannot be read .* are unknown"):
        CpuClocks(tree).available()


def test_journals_are_in_the_users_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert journal_folder() == tmp_path / "trilemma" / "clocks"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert journal_folder() == Path.home() / ".local" / "state" / "trilemma" / "clocks"


def test_a_gpu_is_locked_and_unlocked(tmp_path: Path, journals: Path) -> None:
    nvml = StandInNvml(tmp_path / "lock")
    clocks = NvidiaClocks(GPU, nvml)
    assert clocks.available() == [345, 1200, 1980]

    done = sweep(clocks, [345, 1980], lambda mhz: nvml.lock, allow=True, folder=journals)
    assert [(one.observed, one.result) for one in done] == [(345, [345, 345]), (1980, [1980, 1980])]
    assert nvml.lock is None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_gpu_is_unlocked_after_a_signal(tmp_path: Path, journals: Path, name: str) -> None:
    nvml = StandInNvml(tmp_path / "lock")
    code = "clocks = NvidiaClocks(GPU, StandInNvml(root))\n" + SWEEP.replace("800", "345")
    with child(tmp_path / "lock", journals, code) as process:
        assert nvml.lock == [345, 345]
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=30)
    if name == "SIGKILL":
        assert nvml.lock == [345, 345]
        (done,) = recover(NvidiaClocks(GPU, nvml), journals)
        assert done.endswith("as they were before a run that was killed")
    assert nvml.lock is None


@pytest.mark.parametrize(
    ("nvml", "sentence"),
    [
        ({"refuses": 4}, "this user may not set its clocks; run as root"),
        ({"refuses": 3}, "nvmlDeviceResetGpuLockedClocks failed .*estimate with --watts"),
        ({"reasons": 0x1}, "is idle, so it is not known whether its clocks are limited"),
        ({"reasons": 0x6}, "are limited already, which could not be given back afterwards"),
    ],
)
def test_a_gpu_whose_clocks_cannot_be_given_back_is_refused(
    tmp_path: Path, journals: Path, nvml: dict[str, int], sentence: str
) -> None:
    ran: list[int] = []
    with pytest.raises(ClockError, match=sentence):
        sweep(
            NvidiaClocks(GPU, StandInNvml(tmp_path / "lock", **nvml)),
            [345],
            ran.append,
            allow=True,
            folder=journals,
        )
    assert ran == [] and list(journals.glob("*.json")) == []


def test_a_gpu_is_given_work_before_it_is_asked_for_its_limits(tmp_path: Path, journals: Path) -> None:
    nvml = StandInNvml(tmp_path / "lock", reasons=0x1)  # idle
    clocks = NvidiaClocks(GPU, nvml, occupy=lambda: setattr(nvml, "_reasons", 0x2))
    with pytest.raises(ClockError, match="are limited already"):
        clocks.check()


def test_a_gpu_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClockError, match="GPU GPU-2: nvmlDeviceGetHandleByUUID failed"):
        NvidiaClocks("GPU-2", StandInNvml(tmp_path / "lock"))


def test_clocks_of_a_device(tree: Path) -> None:
    clocks: Clocks = clocks_of("cpu")
    assert clocks.name == "cpufreq"
    with pytest.raises(TrilemmaError, match="the clocks of the device mps cannot be set"):
        clocks_of("mps")
