"""What comes from a run folder, before it is computed with or printed: nothing in it is trusted."""

import numpy as np
import pandas as pd

_TEXTS = (
    *("study", "model", "arch", "task", "set", "axis", "metric", "level", "method"),
    *("unit", "note", "hardware", "kernel", "versions"),
)
_NOT_FINITE = "not measured: the value is not finite"


def cleaned(records: pd.DataFrame) -> pd.DataFrame:
    """The records with empty texts for absent ones, and no value or limit that is not finite."""
    texts = records[list(_TEXTS)]
    numbers = records[["value", "low", "high"]].to_numpy(float, na_value=np.nan)
    infinite = np.isinf(numbers)
    if not texts.isna().to_numpy().any() and not infinite.any():
        return records
    records = records.assign(**{name: texts[name].fillna("") for name in _TEXTS})
    for column, name in enumerate(("value", "low", "high")):
        records.loc[infinite[:, column], name] = np.nan
    records.loc[infinite[:, 0], "note"] = _NOT_FINITE
    return records
