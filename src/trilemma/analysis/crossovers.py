"""Who is fastest at which length, with the intervals of the measurements."""

from trilemma.analysis.apart import outcomes
from trilemma.analysis.cautions import join
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.metrics import METRICS
from trilemma.analysis.skill import with_skill
from trilemma.analysis.values import Candidate, OperatingPoint


def crossovers(evidence: Evidence) -> list[str]:
    """Where the fastest candidate changes with length, at the operating point's batch.

    At each length the fastest is tested against the others as the headline's is; those that cannot be told
    from it are named with it. Candidates without skill are left out.
    """
    records, batch, metric = evidence.records, evidence.at.batch, METRICS["latency_ms"]
    rows = records[
        (records["metric"] == metric.name) & (records["batch"] == batch) & records["value"].notna()
    ]
    lengths = sorted(int(length) for length in rows["length"].dropna().unique())
    models: dict[str, Candidate] = {}
    for candidate in with_skill(evidence, evidence.candidates):
        models.setdefault(candidate.model, candidate)
    if len(lengths) < 2 or len(models) < 2:
        return []
    runs: list[tuple[tuple[str, ...], int]] = []
    for length in lengths:
        at = Evidence(records, evidence.items, OperatingPoint(batch, length))
        first = _fastest(at, list(models.values()))
        if first and (not runs or runs[-1][0] != first):
            runs.append((first, length))
    told = "; ".join(f"from length {length} {_named(names)}" for names, length in runs)
    span = f"at every measured length, from {lengths[0]} to {lengths[-1]}"
    if len(runs) == 1:
        names = runs[0][0]
        if len(names) == 1:
            return [f"{names[0]} is the fastest model {span}."]
        return [f"{names[0]} is not distinguishably faster than {join(names[1:])} {span}."]
    if len({names[0] for names, _ in runs}) == 1:
        return [f"{runs[0][0][0]} is the fastest by the point estimate {span}: {told}."]
    return [f"Who is fastest depends on length: {told}."]


def _named(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{names[0]}, not distinguishable from {join(names[1:])}"


def _fastest(at: Evidence, models: list[Candidate]) -> tuple[str, ...]:
    """The fastest model, and those that are not told from it, in the study's order after it."""
    metric = METRICS["latency_ms"]
    values = {c.model: at.value(metric, c).value for c in models}
    known = [c for c in models if values[c.model] is not None]
    if not known:
        return ()
    first = min(known, key=lambda c: values[c.model] or 0.0)
    others = [c for c in known if c != first]
    found = outcomes(at, metric, first, others)
    return first.model, *(c.model for c, outcome in zip(others, found, strict=True) if not outcome.apart)
