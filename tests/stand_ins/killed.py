"""A study in a process that is killed (SIGKILL) at a numbered moment.

Moments are what the process does in the study's folder: a file opened for writing, a rename, a folder made or
removed. They are the same in every run of a study, so a failure can be repeated.
"""

import multiprocessing
import os
import random
import shutil
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trilemma.adapt.methods.full", "trilemma.study.runner"])
"""The libraries are imported once, by a process that starts all others."""

CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


def killed_and_resumed(study: Path, *, kills: int, seed: int, stubs: bool) -> None:
    """Kill a study at random moments and let it finish; what it finds must be that of an undisturbed run.

    A run that comes to its end before it is killed is compared, and the study begins again.

    Args:
        study: the study file.
        kills: how often.
        seed: of the moments; failures name it.
        stubs: whether the study's stages compute nothing.
    """
    folder, undisturbed = study.parent, study.parent / "undisturbed"
    undisturbed.mkdir()
    moments, _ = run_killed(Path(shutil.copy(study, undisturbed)), 0, stubs=stubs)
    rng, at, done, ended = random.Random(seed), list[str](), dict[str, float](), False
    while len(at) < kills or not ended:
        moment = rng.randint(1, moments // 3) if len(at) < kills else 0
        count, what = run_killed(study, moment, stubs=stubs)
        ended = not what
        if what:
            at.append(f"moment {count}, {what}")
        said, now = f"seed {seed}, killed at {at}", _finished(folder)
        assert done.items() <= now.items(), f"a finished stage was repeated; {said}"
        done = now
        if ended:
            assert_same(tables(undisturbed), tables(folder), said)
            assert not list((folder / "store" / "work").glob("*")), said
            files = [{path.name for path in (one / "run").iterdir()} for one in (folder, undisturbed)]
            assert files[0] == files[1], said
            if len(at) < kills:
                done = {}
                for part in ("run", "store"):
                    shutil.rmtree(folder / part)


def _finished(folder: Path) -> dict[str, float]:
    """When each artifact was finished; a name that begins with a dot is of one that is being written."""
    found = (folder / "store").glob("*/[!.]*/artifact.json")
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime for path in found}


TIMED = {"training_seconds"}
"""Metrics that differ from run to run."""


def tables(folder: Path) -> list[pd.DataFrame]:
    """Records, but for times, and items of the run in a folder."""
    records, items = (pd.read_parquet(folder / "run" / f"{name}.parquet") for name in ("records", "items"))
    return [records[~records["metric"].isin(TIMED)].reset_index(drop=True), items]


def assert_same(old: list[pd.DataFrame], new: list[pd.DataFrame], said: str = "tables") -> None:
    """Two runs found the same."""
    for before, after in zip(old, new, strict=True):
        pd.testing.assert_frame_equal(before, after, obj=said)


def run_killed(study: Path, moment: int, *, stubs: bool) -> tuple[int, str]:
    """Run a study, with its run folder and store beside it, and kill it.

    Args:
        study: the study file.
        moment: at which it is killed; later than the last one: it is not killed.
        stubs: whether its stages compute nothing.

    Returns:
        How many moments there were, and what the last one was; "" for a run to the end.
    """
    here, there = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run, args=(study, moment, stubs, there))
    process.start()
    there.close()
    last = (0, "")
    try:
        while True:
            last = here.recv()
    except EOFError:
        process.join()
    count, what = last
    assert process.exitcode == (-signal.SIGKILL if what else 0), f"exit code {process.exitcode} at {last}"
    return count, what


def _run(study: Path, moment: int, stubs: bool, told: Connection) -> None:
    from tests.stand_ins.listener import Events
    from tests.stand_ins.stages import stub
    from trilemma.study import load_study
    from trilemma.study.runner import run_study
    from trilemma.study.store import locked

    if stubs:
        stub()
    folder, count = str(study.parent), 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            flags = arguments[2]
            if not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event not in CHANGES:
            return
        path = str(arguments[0])
        if not path.startswith(folder):
            return
        count += 1
        if count == moment:
            told.send((count, f"{event} {os.path.relpath(path, folder)}"))
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    run = study.parent / "run"
    with locked(run):
        run_study(load_study(study), run, study.parent / "store", Events())
    told.send((count, ""))
