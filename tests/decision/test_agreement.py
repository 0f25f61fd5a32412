"""One question has one answer: compare, verdict, decision, Pareto front and report, on random studies."""

import itertools

import numpy as np
import pytest

from tests.stand_ins.synthetic import frames
from trilemma.analysis.pareto import three_axes
from trilemma.decision.verdict import HEADLINE
from trilemma.metrics import METRICS
from trilemma.report.pages import sections
from trilemma.result import Result


def random_study(seed: int) -> Result:
    random = np.random.default_rng(seed)
    models = int(random.integers(2, 5))
    tasks = ("sst2", "qqp", "mnli")[: int(random.integers(1, 4))]
    skill = tuple(random.uniform(0.5, 0.95, models).round(2))
    robustness = tuple(random.uniform(0.2, 0.8, models).round(2))
    seeds = tuple(range(int(random.integers(1, 4))))
    sizes = {"clean": int(random.integers(40, 300)), "adversarial": int(random.integers(20, 200))}
    return Result(
        *frames(models=models, tasks=tasks, seeds=seeds, skill=skill, robustness=robustness, **sizes)
    )


@pytest.mark.parametrize("seed", range(6))
def test_no_two_answers_contradict_each_other(seed: int) -> None:
    result = random_study(seed)
    evidence, verdict = result.evidence(), result.verdict()
    found = {}
    for name in ("accuracy", "robust_accuracy"):
        decision = result.decide(best=name)
        for a, b in itertools.permutations(evidence.candidates, 2):
            (distinction,) = evidence.distinguish(METRICS[name], a, [b])
            one = evidence.compared(METRICS[name], a, b)
            rows = result.compare(a.name, b.name, metric=name)
            shown = rows[
                (rows["metric"] == one.metric) & (rows["task"] == one.task) & (rows["set"] == one.set)
            ]
            shown = shown[shown["level"] == one.level].iloc[0]
            assert (shown["p_adjusted"], shown["verdict"]) == (one.p_adjusted, one.verdict)
            assert distinction.p == one.p_adjusted
            assert distinction.apart == (one.verdict in ("a better", "b better")) == (one.p_adjusted < 0.05)
            found[name, a.name, b.name] = one.verdict
        chosen = decision.choice
        for row in decision.qualifying[1:]:
            if row.distinction is not None:
                assert row.distinction.apart == (found[name, chosen, row.candidate] == "a better")
                assert (row.name in decision.ties) == (not row.distinction.apart)
    for ranking in verdict.rankings[1:]:
        name = HEADLINE[ranking.axis][0]
        outside = [one for one in ranking.measured if one not in ranking.without_skill]
        for inside, other in itertools.product(ranking.leading, set(outside) - set(ranking.leading)):
            assert found[name, inside, other] == "a better"
        for other in set(outside) - {ranking.leader}:
            assert (other in ranking.behind) == (found[name, ranking.leader, other] == "a better")
    for position in three_axes(evidence).positions:
        for better in position.settled_by:
            on_axes = [found[name, better, position.candidate] for name in ("accuracy", "robust_accuracy")]
            assert set(on_axes) <= {"a better", "equivalent"}
    listed = {tuple(map(str, row)) for row in map(sections.comparison_row, evidence.comparisons.study)}
    assert len(listed) == len(evidence.comparisons.study), "a test is listed twice"
