"""Energy per correct answer: a model's energy per answer over the share of its answers that are right."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trilemma.records import AVERAGE, Record


def joules_per_correct_answer(
    efficiency: Iterable[Record], scores: Iterable[Record], candidates: Iterable[tuple[str, str]]
) -> Iterator[Record]:
    """What a right answer costs: the energy of all answers, over those that are right.

    It is measured where the energy is, and estimated where that is.

    The share of right answers is the mean over tasks of accuracy; a task that is not scored by accuracy has
    no part in it.

    Args:
        efficiency: records, of which the energy per example in classification is used.
        scores: records, of which the accuracy over seeds is used.
        candidates: models and adaptations.

    Yields:
        Records of axis E with task ``average``, at each batch and length at which the energy of an answer is
        known; without a value, and with the reason, where it is not, or where the share is not or is 0.
        Energy and accuracy are independent: on logarithms the half widths of their 95% intervals add in
        squares, each side by itself. There is no interval where one of them has none, or reaches 0.
    """
    scored = [one for one in scores if one.metric == "accuracy" and one.task != AVERAGE and one.seed is None]
    parts = list(dict.fromkeys((one.task, one.set) for one in scored if one.value is not None))
    shares = {}
    for model, adaptation in candidates:
        own = [one for one in scored if (one.model, one.adaptation) == (model, adaptation)]
        shares[model, adaptation] = _share({(one.task, one.set): one for one in own}, parts)
    for record in efficiency:
        if (record.metric, record.phase) != ("energy_j_per_example", "classify"):
            continue
        untimed: dict[str, Any] = {"verdict": "", "drift": None, "drift_p": None}
        derived = replace(record, task=AVERAGE, metric="energy_j_per_correct_answer", **untimed)
        if record.value is None:
            yield derived  # once per model: the reason does not depend on its adaptation
            continue
        for (model, adaptation), share in shares.items():
            if model == record.model:
                yield _divided(replace(derived, adaptation=adaptation), share)


def _share(own: Mapping[tuple[str, str], Record], parts: Sequence[tuple[str, str]]) -> Record | str:
    """The mean over tasks of the mean over a task's sets, with its 95% interval if any, or why there is none.

    Tasks are independent: the half widths of their intervals add in squares, each side by itself. Sets of one
    task are answered by the same trained models, so theirs add as they are, which is the most they can.

    Args:
        own: the candidate's accuracy by task and set.
        parts: tasks and sets on which any candidate has an accuracy.
    """
    if not parts:
        return "no task of the study is scored by accuracy"
    tasks = [task for task, _ in parts]
    value, bounded = 0.0, True
    below, above = dict.fromkeys(tasks, 0.0), dict.fromkeys(tasks, 0.0)
    for task, name in parts:
        record = own.get((task, name))
        if record is None or record.value is None:
            return f"no accuracy on {task}"
        weight = 1 / (len(set(tasks)) * tasks.count(task))
        value += weight * record.value
        if record.low is None or record.high is None:
            bounded = False
        else:
            below[task] += weight * (record.value - record.low)
            above[task] += weight * (record.high - record.value)
    low, high = value - math.hypot(*below.values()), value + math.hypot(*above.values())
    limits = (low, high) if bounded else (None, None)
    share = f"{value:.1%} of the answers to {', '.join(dict.fromkeys(tasks))} are right"
    notes = filter(None, (share, *(own[part].note for part in parts)))
    flags = dict.fromkeys(flag for part in parts for flag in own[part].flags)
    columns: dict[str, Any] = {"flags": tuple(flags), "note": "; ".join(dict.fromkeys(notes))}
    return own[parts[0]].with_value(value, *limits, **columns)


def _divided(energy: Record, share: Record | str) -> Record:
    """The energy of an answer, made that of a right one."""
    if isinstance(share, str) or not share.value:
        return energy.without_value(share if isinstance(share, str) else "no answer is right")
    joules, right = energy.value, share.value
    assert joules is not None
    value = joules / right
    limits: tuple[float, ...] = ()
    if energy.low and energy.high and share.low and share.high and min(energy.low, share.low) > 0:
        below = math.hypot(math.log(joules / energy.low), math.log(share.high / right))
        above = math.hypot(math.log(energy.high / joules), math.log(right / share.low))
        limits = (value * math.exp(-below), value * math.exp(above))
    flags = tuple(dict.fromkeys((*energy.flags, *share.flags)))
    note = "; ".join(filter(None, (share.note, energy.note)))
    return energy.with_value(value, *limits, confidence=None, flags=flags, note=note)
