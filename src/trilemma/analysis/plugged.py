"""Metrics of measurement plug-ins: those in the records that the report has no entry for."""

import pandas as pd

from trilemma.analysis.metrics import METRICS, Metric, find_metric
from trilemma.errors import TrilemmaError


def plugged_metrics(records: pd.DataFrame) -> dict[str, Metric]:
    """Measured metrics of models that :data:`~trilemma.analysis.metrics.METRICS` does not hold.

    Records do not say which direction is better: a rate (a unit that ends in ``/s``) is taken to be
    better when higher, everything else, a cost on axis E, when lower.
    """
    rows = records[(records["axis"] == "E") & (records["task"] == "") & records["value"].notna()]
    units = rows[~rows["metric"].isin(list(METRICS))].drop_duplicates("metric").set_index("metric")["unit"]
    return {
        str(name): Metric(
            str(name), "E", "higher" if unit.endswith("/s") else "lower", unit, str(name).replace("_", " ")
        )
        for name, unit in units.items()
    }


def metric_of(records: pd.DataFrame, name: str) -> Metric:
    """The metric called ``name``: a known one, an alias, or a plug-in's in these records.

    Raises:
        TrilemmaError: if there is none, naming the known ones.
    """
    plugged = plugged_metrics(records)
    for asked in (name.strip(), name.strip().replace("-", "_")):
        if asked in plugged:
            return plugged[asked]
    try:
        return find_metric(name)
    except TrilemmaError as error:
        if plugged:
            raise TrilemmaError(f"{error}, {', '.join(plugged)}") from None
        raise
