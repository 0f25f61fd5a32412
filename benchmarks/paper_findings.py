"""The paper's three findings, tested on a finished study of matched candidates, as Markdown.

    python benchmarks/paper_findings.py runs/glue-micro --arm "" --arm=-pretrained

Fan & Tao (arXiv 2408.04585) find, against Transformer++: (1) GLA and MatMul-Free LM lose a little clean
accuracy and are more efficient; (2) GLA is more robust at every level of attack; (3) MatMul-Free LM is more
robust at word level and equal at sentence and human level.

"Better" is supported where the paired test (Holm-adjusted by `compare` over the levels of one pair) finds a
difference of that sign at 5%, contradicted where it finds the other sign, else undecided. "Equal" is
supported where the 95% interval of the difference lies within 5 points of zero, contradicted where a
difference is found, else undecided.
"""

import argparse
from dataclasses import dataclass

import pandas as pd

from trilemma import Result

EQUAL = 0.05
SIGNIFICANT = 0.05
BASELINE = "transformer-pp-micro"


@dataclass(frozen=True)
class Claim:
    """What the paper says of one candidate against Transformer++."""

    model: str
    metric: str
    level: str
    expected: str  # "higher", "lower" or "equal"


CLAIMS = [
    *(Claim(model, "accuracy", "clean", "lower") for model in ("gla-micro", "matmul-free-micro")),
    *(Claim("gla-micro", "robust_accuracy", level, "higher") for level in ("word", "sentence", "human")),
    Claim("matmul-free-micro", "robust_accuracy", "word", "higher"),
    *(Claim("matmul-free-micro", "robust_accuracy", level, "equal") for level in ("sentence", "human")),
]

COSTS = {
    ("peak_memory_bytes", "train"): ("fine-tuning memory", 1e-6, "MB"),
    ("peak_memory_bytes", "classify"): ("inference memory", 1e-6, "MB"),
    ("latency_ms", "classify"): ("latency", 1.0, "ms"),
    ("examples_per_s", "train"): ("fine-tuning rate", 1.0, "examples/s"),
}


def judge(expected: str, row: pd.Series) -> str:
    """Supported, contradicted or undecided."""
    if row["p_adjusted"] is None or pd.isna(row["p_adjusted"]):
        return "not measured"
    found = row["p_adjusted"] < SIGNIFICANT
    sign = "higher" if row["difference"] > 0 else "lower"
    if expected == "equal":
        if found:
            return "contradicted"
        return "supported" if max(-row["low"], row["high"]) <= EQUAL else "undecided"
    if not found:
        return "undecided"
    return "supported" if sign == expected else "contradicted"


def accuracy_rows(result: Result, arm: str) -> list[str]:
    """One row a claim about accuracy, clean or under attack."""
    lines = []
    for claim in CLAIMS:
        compared = result.compare(claim.model + arm, BASELINE + arm, metric=claim.metric)
        rows = compared[(compared["task"] == "average") & (compared["level"] == claim.level)]
        for _, row in rows.iterrows():
            lines.append(
                f"| {claim.model + arm} | {claim.metric} | {claim.level} | {claim.expected} | {row['n']} | "
                f"{row['a_value']:.3f} | {row['b_value']:.3f} | {row['difference']:+.3f} "
                f"[{row['low']:+.3f}, {row['high']:+.3f}] | {row['p_adjusted']:.3f} | "
                f"{judge(claim.expected, row)} |"
            )
    return lines


def cost_rows(result: Result) -> list[str]:
    """Costs against Transformer++ at every measured point; both arms share shapes, so costs are one arm's."""
    records = result.records[(result.records["basis"] != "forecast") & result.records["value"].notna()]
    lines = []
    for (metric, phase), (name, factor, unit) in COSTS.items():
        own = records[(records["metric"] == metric) & (records["phase"] == phase)]
        wide = own.pivot_table(index=["batch", "length"], columns="model", values="value") * factor
        for (batch, length), row in wide.iterrows():
            base = row[BASELINE]
            cells = [
                f"{row[model]:,.1f} ({row[model] / base:.2f})" for model in ("gla-micro", "matmul-free-micro")
            ]
            lines.append(
                f"| {name} ({unit}) | {batch:.0f} | {length:.0f} | {base:,.1f} | {' | '.join(cells)} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder")
    parser.add_argument("--arm", action="append", help="suffix of the names, e.g. -pretrained")
    arguments = parser.parse_args()
    result = Result.load(arguments.run)
    print(
        "| candidate | metric | level | paper says | n | candidate | Transformer++ | difference [95%] "
        "| p | here |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for arm in arguments.arm or [""]:
        print("\n".join(accuracy_rows(result, arm)))
    print("\n| cost | batch | tokens | Transformer++ | GLA (ratio) | MatMul-Free (ratio) |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(cost_rows(result)))


if __name__ == "__main__":
    main()
