"""The records of attacks on the candidates themselves, and what in them is suspect."""

from collections.abc import Iterator

import pandas as pd

from trilemma.analysis.values import candidate_names

ATTACK = "attack:"
"""Begins the name of the set of an attack; of examples made on another model, that model's name follows."""


def of_attacks(records: pd.DataFrame) -> pd.DataFrame:
    """Records of attacks, over seeds, one method a row; with the columns ``candidate`` and ``source``.

    ``source`` is the model that the examples were made on, "" where it is the candidate itself.
    """
    rows = records[
        records["set"].str.startswith(ATTACK) & (records["method"] != "") & records["seed"].isna()
    ].copy()
    names = candidate_names(records)
    rows["candidate"] = [names[key] for key in zip(rows["model"], rows["adaptation"], strict=True)]
    rows["source"] = [name.split(":", 2)[2] if name.count(":") > 1 else "" for name in rows["set"]]
    return rows


def masking_cautions(records: pd.DataFrame) -> Iterator[str]:
    """Models on which an attack that sees gradients does worse than one of its level that does not."""
    rows = of_attacks(records)
    gaps = rows[(rows["metric"] == "white_box_gap") & (rows["value"] > 0)].sort_values(
        "value", ascending=False
    )
    for row in gaps.drop_duplicates(["candidate", "task", "method"]).to_dict("records"):
        doubt = "" if row["low"] > 0 else ", not distinguishably"
        yield (
            f"{row['candidate']} on {row['task']}: the white-box attack {row['method']} succeeds on "
            f"{row['value']:.0%} fewer of the items [{row['low']:.0%}, {row['high']:.0%}]{doubt} than the "
            f"black-box attack {row['note'].split(' succeeds')[0]}; gradients that mislead are no robustness."
        )
