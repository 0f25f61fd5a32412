"""What it costs to read a result of many items: CPU seconds and peak memory of each command.

    python benchmarks/scale.py [--items 2000000] [--commands show compare report decide]

The run is made up: a small synthetic one whose items are copied under new ids and origins. Every command
runs in a process of its own, so that its peak of memory is its own; the libraries' import is in its time.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path[0] = str(Path(__file__).parent.parent)

from tests.stand_ins.synthetic import MODELS, tables

ARGUMENTS = {
    "show": ["show", "."],
    "compare": ["compare", MODELS[0], MODELS[1], "--run", "."],
    "decide": ["decide", ".", "--min-clean", "0.5"],
    "report": ["report", ".", "--out", "report.html"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--items", type=int, default=2_000_000)
    parser.add_argument("--commands", nargs="+", choices=ARGUMENTS, default=list(ARGUMENTS))
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        print(f"{write_run(Path(folder), asked.items):,} items", flush=True)
        for command in asked.commands:
            wall, cpu, peak = spent(Path(folder), ARGUMENTS[command])
            print(f"{command:8} {wall:6.1f} s, {cpu:6.1f} s CPU, {peak / 2**30:5.2f} GiB", flush=True)


def write_run(folder: Path, wanted: int) -> int:
    """Write both tables, batch by batch; returns the number of items."""
    records, items = tables()
    pq.write_table(records, folder / "records.parquet")
    copies = -(-wanted // len(items))
    with pq.ParquetWriter(folder / "items.parquet", items.schema, compression="zstd") as writer:
        for copy in range(copies):
            renamed = items
            for column in ("id", "origin"):
                fresh = pc.binary_join_element_wise(items[column], pa.scalar(str(copy)), "-")
                renamed = renamed.set_column(items.schema.get_field_index(column), column, fresh)
            writer.write_table(renamed)
    return copies * len(items)


def spent(folder: Path, arguments: list[str]) -> tuple[float, float, int]:
    """Wall and CPU seconds and peak memory in bytes of one command in a process of its own."""
    began = time.perf_counter()
    if (child := os.fork()) == 0:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(sys.executable, [sys.executable, "-m", "trilemma", *arguments])
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"trilemma {' '.join(arguments)} failed")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit


if __name__ == "__main__":
    main()
