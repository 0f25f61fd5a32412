"""How long it takes to read and lay out a large study, before any work.

    python benchmarks/planning.py [--rounds 5]

The study is generated: 6 candidates, 5 tasks of the embedded suite, 2 adaptations and 5 seeds make 300
adapted models, and with 2 attacks and their transfer about 4,700 stages. Printed are the seconds of every
round; the first one also imports the libraries.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[0] = str(Path(__file__).parent.parent)

from trilemma.study import load_study
from trilemma.study.layout import lay_out

STUDY = """\
name: large
models: [{models}]
tasks: [sst2, qqp, qnli, rte, mnli]
adapt:
  - {{method: full, learning_rate: {{sweep: [1.0e-3, 3.0e-3]}}}}
  - {{method: lora, learning_rate: 1.0e-3}}
seeds: [0, 1, 2, 3, 4]
robustness: {{sets: [advglue], attacks: [deepwordbug, {{recipe: pwws, wordnet: embedded}}]}}
efficiency: {{}}
""".format(
    models=", ".join(
        f"{{arch: {arch}, size: {size}}}"
        for arch in ("transformer-pp", "gla", "matmul-free")
        for size in ("nano", "micro")
    )
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(STUDY, "utf-8")
        for number in range(rounds):
            began = time.perf_counter()
            graph = lay_out(load_study(path), machine={})
            seconds = time.perf_counter() - began
            models, stages = len(graph.adapted), len(graph.stages)
            print(f"round {number}: {models} adapted models, {stages} stages in {seconds:.2f} s")


if __name__ == "__main__":
    main()
