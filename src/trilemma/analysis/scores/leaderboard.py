"""The leaderboards' rule: how a model's scores on several tasks become one."""

from collections.abc import Mapping, Sequence

import numpy as np

from trilemma.statistics import Array


def leaderboard_score(tasks: Mapping[str, Sequence[Sequence[float]] | Array]) -> float:
    """Mean over tasks of each task's score, GLUE's and AdvGLUE's rule.

    A task's score is the mean over its sets (MNLI: matched and mismatched) and over its official metrics
    (QQP: accuracy and F1).

    Args:
        tasks: by task, [sets, metrics] values in any one unit.

    Source: AdvGLUE's ``evaluate.py`` (Wang et al., NeurIPS 2021 Datasets and Benchmarks).
    """
    return float(np.mean([np.mean(values) for values in tasks.values()]))
