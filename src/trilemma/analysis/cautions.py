"""What limits the claims of a study, in sentences: read from the notes and flags of its records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from trilemma.analysis.attack_records import masking_cautions
from trilemma.analysis.comparisons import AVERAGE
from trilemma.analysis.metrics import METRICS
from trilemma.analysis.panels import LEVELS
from trilemma.analysis.values import benchmarks, candidate_names, name_of, rows_of

MEANINGLESS = "robustness is meaningless"
_ABSENT = "not measured"
_FAILED = "not measured: failed: "
_WIDE = 0.3
"""Width of an interval of a score over seeds from which its seeds are said to disagree."""
_UNSTEADY = 0.25
"""Width of an interval of latency, as a share of the median, from which timing is said to vary."""


def cautions(records: pd.DataFrame) -> tuple[str, ...]:
    """Everything a reader must know before trusting a number, most important first."""
    return (
        *_meaningless(records),
        *_failed(records),
        *_pretraining(records),
        *_candidate_notes(records),
        *masking_cautions(records),
        *_one_run(records),
        *_seeds_disagree(records),
        *_unsteady(records),
        *_partial(records),
        *_study_notes(records),
        *_other_benchmarks(records),
        *_kernels(records),
        *_not_measured(records),
    )


def join(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def study_notes(records: pd.DataFrame) -> list[str]:
    """Notes that every record of performance and robustness carries: they are about the whole study."""
    notes = records.loc[records["axis"].isin(["P", "R"]) & (records["adaptation"] != ""), "note"]
    if notes.empty:
        return []
    every = set.intersection(*({part for part in note.split("; ") if part} for note in notes.unique()))
    return sorted(every)


def own_note(note: str, shared: Sequence[str]) -> str:
    """A record's note without what is said of the whole study."""
    return "; ".join(part for part in note.split("; ") if part and part not in shared)


def _meaningless(records: pd.DataFrame) -> list[str]:
    """Tasks on which candidates show no skill on clean text, over seeds or with single seeds."""
    names = candidate_names(records)
    flagged = records[(records["axis"] == "R") & (records["task"] != AVERAGE)]
    flagged = flagged[flagged["note"].str.contains(MEANINGLESS, regex=False)]
    found: dict[tuple[str, str], dict[str, None]] = {}
    for (model, adaptation, task), rows in flagged.groupby(["model", "adaptation", "task"], sort=False):
        seeds = "" if rows["seed"].isna().any() else f", seed {join(_seeds(rows))}"
        name = names[str(model), str(adaptation)]
        found.setdefault((str(task), seeds), {})[name] = None
    return [
        f"On {task}{seeds}, robustness is meaningless for {join(who)}: clean accuracy is not distinguishably "
        "above that of the majority class."
        for (task, seeds), who in found.items()
    ]


def _seeds(rows: pd.DataFrame) -> list[str]:
    return [str(int(seed)) for seed in sorted(rows["seed"].unique())]


def _pretraining(records: pd.DataFrame) -> list[str]:
    """Whether the candidates were trained on the same before; silent where nothing is recorded."""
    rows = records[records["metric"] == "pretraining_tokens"].drop_duplicates("model")
    groups: dict[str, list[str]] = {}
    for row in rows_of(rows):
        tokens = "" if pd.isna(row["value"]) else f"{row['value']:,.0f} tokens; "
        groups.setdefault(tokens + row["note"].removeprefix(f"{_ABSENT}: "), []).append(row["model"])
    if len(groups) < 2:
        return []
    parts = "; ".join(f"{join(models)} ({what})" for what, models in groups.items())
    return [
        "The candidates do not share their pretraining, so their differences are not the architecture's "
        f"alone: {parts}."
    ]


def _candidate_notes(records: pd.DataFrame) -> list[str]:
    """What is said of some candidates; what is said of all is no caution."""
    rows = rows_of(records[records["metric"] == "parameters"].drop_duplicates("model"))
    shared = shared_model_notes(records)
    notes = {row["model"]: own_note(row["note"], shared) for row in rows}
    return [f"{model}: {note}." for model, note in notes.items() if note]


def shared_model_notes(records: pd.DataFrame) -> list[str]:
    """Notes that stand at every model: how all of them were measured."""
    notes = records.loc[records["metric"] == "parameters", "note"]
    if notes.empty:
        return []
    return sorted(set.intersection(*(set(filter(None, note.split("; "))) for note in notes)))


def _failed(records: pd.DataFrame) -> list[str]:
    rows = records[records["value"].isna() & records["note"].str.startswith(_FAILED)]
    shared = study_notes(records)
    sentences = []
    names = candidate_names(records)
    for row in rows_of(rows.drop_duplicates(["model", "adaptation", "task", "seed", "note"])):
        where = name_of(row, names) + (f" on {row['task']}" if row["task"] else "")
        seed = "" if pd.isna(row["seed"]) else f", seed {int(row['seed'])}"
        why = own_note(row["note"].removeprefix(_FAILED), shared).rstrip(".")
        sentences.append(f"Failed: {where}{seed}: {why}.")
    return sentences


def _one_run(records: pd.DataFrame) -> list[str]:
    """Where intervals hold items alone, or not what another pretraining would change."""
    scored = records[records["axis"].isin(["P", "R"]) & records["seed"].notna() & records["value"].notna()]
    scored = scored[scored["task"] != ""]
    seeds = scored.groupby(["model", "adaptation"])["seed"].nunique()
    names = candidate_names(records)
    single = [names[key] for key in names if key in seeds.index and seeds[key] == 1]
    sentences = []
    if single:
        who = "Every candidate" if len(single) == len(seeds) else join(single)
        verb = "was" if len(single) in (1, len(seeds)) else "were"
        sentences.append(
            f"{who} {verb} trained with one seed: intervals and tests speak of these trained models, not of "
            "what another training would give."
        )
    tokens = records[(records["metric"] == "pretraining_tokens") & (records["value"] > 0)]
    once = list(dict.fromkeys(tokens["model"]))
    if once:
        verb = "was" if len(once) == 1 else "were"
        sentences.append(
            f"{join(once)} {verb} pretrained once: no interval covers what another pretraining would change."
        )
    return sentences


def _seeds_disagree(records: pd.DataFrame) -> list[str]:
    """Scores over seeds whose interval says little."""
    rows = records[records["axis"].isin(["P", "R"]) & records["seed"].isna() & (records["task"] == AVERAGE)]
    rows = rows[rows["level"].isin(["clean", "all"]) & rows["metric"].isin(["glue_score", "advglue_score"])]
    rows = rows[rows["high"] - rows["low"] > _WIDE]
    several = records[records["seed"].notna()].groupby(["model", "adaptation"])["seed"].nunique()
    names = candidate_names(records)
    keys = dict.fromkeys((str(row["model"]), str(row["adaptation"])) for row in rows_of(rows))
    wide = [names[key] for key in keys if key in several.index and several[key] > 1]
    if not wide:
        return []
    return [
        f"The seeds of {join(wide)} disagree: an interval is wider than {100 * _WIDE:.0f} points; more seeds "
        "would say more."
    ]


def _unsteady(records: pd.DataFrame) -> list[str]:
    """Timing that something disturbed: wide intervals of the median."""
    rows = records[(records["metric"] == "latency_ms") & records["value"].notna() & records["low"].notna()]
    wide = rows[(rows["high"] - rows["low"]) > _UNSTEADY * rows["value"]]
    if wide.empty:
        return []
    return [
        f"Timing varied strongly in {len(wide)} of {len(rows)} measurements of latency (intervals wider than "
        f"{100 * _UNSTEADY:.0f}% of the median): measure on a quiet machine to tell candidates apart."
    ]


def _partial(records: pd.DataFrame) -> list[str]:
    rows = records[records["partial"] & (records["axis"] != "E") & (records["task"] != AVERAGE)]
    names = [
        f"{task} {name}".strip()
        for task, name in rows[["task", "set"]].drop_duplicates().itertuples(index=False)
    ]
    said = [f"Partial, with fewer rows than the official split: {', '.join(names)}."] if names else []
    rows = records[(records["metric"] == "training_rows") & (records["note"] != "")]
    if short := list(dict.fromkeys(f"{row['task']} ({row['note']})" for row in rows_of(rows))):
        said.append(f"Fine-tuned on fewer rows than the official training split: {', '.join(short)}.")
    return said


def _study_notes(records: pd.DataFrame) -> list[str]:
    return [f"{note[0].upper()}{note[1:]}." for note in study_notes(records)]


def _other_benchmarks(records: pd.DataFrame) -> list[str]:
    first, *others = benchmarks(records) or [""]
    return [f"Robustness in the verdict is that on {first}; also measured: {join(others)}."] if others else []


def _kernels(records: pd.DataFrame) -> list[str]:
    """Candidates whose weights were fake-quantised: packed weights would differ in speed and memory."""
    names = list(dict.fromkeys(records.loc[records["kernel"].str.contains("fake-quantised"), "model"]))
    if not names:
        return []
    verb = "was" if len(names) == 1 else "were"
    return [
        f"{join(names)} {verb} measured with fake-quantised weights; packed ternary weights would differ in "
        "speed and memory."
    ]


def _not_measured(records: pd.DataFrame) -> list[str]:
    """One sentence a reason, naming what has no value because of it; the minor ones last, in one."""
    rows = records[records["value"].isna() & (records["metric"] != "pretraining_tokens")]
    rows = rows[~rows["note"].str.startswith(_FAILED)]
    minor = rows[rows["metric"] == _MINOR]
    reasons: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(rows[rows["metric"] != _MINOR]):
        parts = [part for part in row["note"].split("; ") if part.startswith(_ABSENT)]
        reason = parts[0].removeprefix(_ABSENT).lstrip(": ") if parts else ""
        reasons.setdefault(reason, []).append(row)
    sentences = [_absent(reason, cells, candidate_names(records)) for reason, cells in reasons.items()]
    if len(minor):
        points = minor[["batch", "length"]].drop_duplicates()
        where = "one point" if len(points) == 1 else f"{len(points)} points"
        sentences.append(f"Not measured (too few repetitions): {METRICS[_MINOR].title}, at {where}.")
    return sentences


_MINOR = "latency_p95_ms"
"""What no verdict rests on."""


def _absent(reason: str, cells: Sequence[dict[str, Any]], names: Mapping[tuple[str, str], str]) -> str:
    metrics = dict.fromkeys(str(cell["metric"]) for cell in cells)
    titles = [METRICS[name].title if name in METRICS else name.replace("_", " ") for name in metrics]
    who = dict.fromkeys(name_of(cell, names) for cell in cells)
    where = dict.fromkeys(_place(cell) for cell in cells)
    text = f"Not measured{f' ({reason})' if reason else ''}: {join(titles)}"
    if set(who) not in ({model for model, _ in names}, set(names.values())):
        text += f" of {join(who)}"
    places = [place for place in where if place]
    levels = {str(cell["level"]) for cell in cells}
    if len(places) > 4:
        text += f", at {levels.pop()} level" if len(levels) == 1 and levels <= set(LEVELS) else ""
        text += f", in {len(places)} places"
    elif places:
        text += f", {', '.join(places)}"
    return text + "."


def _place(cell: dict[str, Any]) -> str:
    if cell["axis"] == "E":
        numbers = [f"{name} {int(cell[name])}" for name in ("batch", "length") if not pd.isna(cell[name])]
        return ("at " + ", ".join(numbers)) if numbers else ""
    return " ".join(
        str(part)
        for part in (cell["task"], cell["level"] if cell["axis"] == "R" else "", cell["method"])
        if part
    )
