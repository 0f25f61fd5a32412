"""The candidates of a study: what could be deployed, and how each is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from trilemma.errors import TrilemmaError


@dataclass(frozen=True)
class Candidate:
    """One thing that could be deployed: a model, adapted in one way, with weights of one precision.

    Attributes:
        name: unique in the study: the model's name, with the adaptation where the model has several, and the
            precision where it was measured in several.
        model: the model's name in the study.
        adaptation: how it was adapted.
        precision: of its weights, where the model was measured in several; else "".
        arch: its architecture; "" where the table does not say.
        parameters: its number of weights; None where the table does not say.
    """

    name: str
    model: str
    adaptation: str
    precision: str = ""
    arch: str = ""
    parameters: int | None = None


_TELLS_PRECISION = ("weight_bytes", "latency_ms", "ttft_ms")
"""Metrics that are recorded once for each precision in which a model was measured."""


def candidates(table: pd.DataFrame) -> list[Candidate]:
    """The candidates of a study in the order in which a table names their models.

    Args:
        table: the records table or the items table, or rows of it.

    Raises:
        TrilemmaError: where a row names no model or no adaptation.
    """
    if nameless := int((table["model"].isna() | (table["model"] == "")).sum()):
        raise TrilemmaError(f"{nameless} of the rows name no model; give them one or remove these rows")
    if unadapted := int(table["adaptation"].isna().sum()):
        raise TrilemmaError(
            f'{unadapted} of the rows have no adaptation; write "" there for values of the unadapted model'
        )
    facts = ("model", "adaptation", "arch", "parameters", "metric", "machine", "precision")
    table = table[[name for name in facts if name in table]].drop_duplicates()
    coded = [name for name, kind in table.dtypes.items() if isinstance(kind, pd.CategoricalDtype)]
    table = table.astype(dict.fromkeys(coded, object))
    adaptations = _distinct(table, "adaptation")
    precisions: dict[str, list[str]] = {}
    if "metric" in table:
        here = table[(table["machine"].fillna("") == "") & table["metric"].isin(_TELLS_PRECISION)]
        precisions = _distinct(here, "precision")
    known = _facts(table)
    result = []
    for model in dict.fromkeys(map(str, table["model"])):
        adapted, precise = adaptations.get(model) or [""], precisions.get(model) or [""]
        for adaptation in adapted:
            for precision in precise if len(precise) > 1 else [""]:
                parts = [model, *([adaptation] if len(adapted) > 1 else []), *filter(None, [precision])]
                result.append(Candidate(":".join(parts), model, adaptation, precision, *known[model]))
    return result


def _distinct(table: pd.DataFrame, column: str) -> dict[str, list[str]]:
    """Each model's values of a column in the order of the table, without "" and absent ones."""
    found: dict[str, list[str]] = {}
    for model, value in table[["model", column]].drop_duplicates().itertuples(index=False):
        if isinstance(value, str) and value:
            found.setdefault(str(model), []).append(value)
    return found


def _facts(table: pd.DataFrame) -> dict[str, tuple[str, int | None]]:
    """Each model's architecture and number of weights, as far as the table has them."""
    columns = [name for name in ("arch", "parameters") if name in table]
    found = {}
    for row in rows_of(table.groupby("model", sort=False)[columns].first().reset_index()):
        parameters = row.get("parameters", float("nan"))
        known = None if pd.isna(parameters) else int(parameters)
        found[str(row["model"])] = text_of(row.get("arch")), known
    return found


def candidate_names(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Model and adaptation to the candidate's name; of several precisions the first one's."""
    names: dict[tuple[str, str], str] = {}
    for one in candidates(table):
        names.setdefault((one.model, one.adaptation), one.name)
    return names


def name_of(row: Mapping[str, Any], names: Mapping[tuple[str, str], str]) -> str:
    """The candidate of a record; the model where the record holds for all its adaptations."""
    model = str(row["model"])
    return names.get((model, str(row["adaptation"])), model)


def find_candidate(known: list[Candidate], name: str) -> Candidate:
    """The candidate called ``name``; ``model:adaptation`` always names one.

    Raises:
        TrilemmaError: if there is none, naming those there are.
    """
    for candidate in known:
        if name in (candidate.name, f"{candidate.model}:{candidate.adaptation}"):
            return candidate
    names = ", ".join(candidate.name for candidate in known)
    raise TrilemmaError(f"no candidate is called {name!r}; this study has: {names or 'none'}")


def of_candidate(table: pd.DataFrame, candidate: Candidate) -> pd.DataFrame:
    """The rows of records or items that belong to the adapted model."""
    return table[(table["model"] == candidate.model) & (table["adaptation"] == candidate.adaptation)]


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as mappings from column to value."""
    return cast(list[dict[str, Any]], table.to_dict("records"))


def text_of(value: object) -> str:
    """A text of a table; an absent one is ""."""
    return value if isinstance(value, str) else ""
