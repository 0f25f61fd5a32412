"""The records of attacks on the candidates themselves, and what in them is suspect."""

from collections.abc import Iterator

import pandas as pd

from trilemma.report.values import candidate_names

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


WHITE_BOX = "white box"
"""In the notes of an attack that sees gradients."""


def masking_cautions(records: pd.DataFrame) -> Iterator[str]:
    """Models on which an attack that sees gradients does worse than one of its level that does not.

    Gradients that mislead, as those past a rounding do, make a model look robust that is not
    (Athalye et al. 2018, arXiv 1802.00420).
    """
    rows = of_attacks(records)
    white_box = set(rows.loc[rows["note"].str.contains(WHITE_BOX, regex=False), "method"])
    rows = rows[(rows["source"] == "") & (rows["metric"] == "attack_success_rate") & rows["value"].notna()]
    for (task, candidate, level), group in rows.groupby(["task", "candidate", "level"], sort=False):
        ranked = group.sort_values("value", ascending=False).to_dict("records")
        seeing = next((row for row in ranked if row["method"] in white_box), None)
        blind = next((row for row in ranked if row["method"] not in white_box), None)
        if seeing is None or blind is None or seeing["value"] >= blind["value"]:
            continue
        doubt = "" if seeing["high"] < blind["low"] else ", though their intervals overlap"
        yield (
            f"{candidate} on {task}: at {level} level the white-box attack {seeing['method']} succeeds less "
            f"often ({seeing['value']:.0%}) than the black-box attack {blind['method']} "
            f"({blind['value']:.0%}){doubt}; its gradients may mislead, and what they fail to find is no "
            "robustness."
        )
