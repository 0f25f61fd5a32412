"""What it takes to show, compare and report a study of millions of items, each command in a fresh process.

    python benchmarks/scale.py [--items 2000000] [--rounds 3] [--report]

The tables are synthetic: 4 candidates, 5 tasks and 5 seeds, of whose items three in ten are adversarial.
Printed are CPU seconds, seconds and peak memory of each process, the import of the libraries included.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[0] = str(Path(__file__).parent.parent)

from tests.stand_ins.synthetic import LABELS, MODELS, write_run

CANDIDATES, SEEDS = 4, range(5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--items", type=int, default=2_000_000, help="rows of items.parquet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="time the report too")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        run = Path(folder)
        each = asked.items // (CANDIDATES * len(LABELS) * len(SEEDS))
        adversarial = 3 * each // 10
        write_run(
            run,
            models=CANDIDATES,
            tasks=tuple(LABELS),
            seeds=SEEDS,
            clean=each - adversarial,
            adversarial=adversarial,
        )
        commands = [["show", str(run)], ["compare", *MODELS[:2], "--run", str(run)]]
        commands += [["report", str(run)]] if asked.report else []
        for number in range(asked.rounds):
            for command in commands:
                print(f"round {number}, {command[0]}: {_taken(command)}", flush=True)


def _taken(command: list[str]) -> str:
    began = time.perf_counter()
    process = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", _QUIET, *command])
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{command} failed")
    seconds, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return f"{cpu:.1f} s of CPU, {seconds:.1f} s, {used.ru_maxrss / 1e6:.2f} GB"


_QUIET = (
    "import os, sys; os.dup2(os.open(os.devnull, os.O_WRONLY), 1); from trilemma.cli.main import main; main()"
)

if __name__ == "__main__":
    main()
