"""The choice of the learning rate on a held-out slice of the training split."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from trilemma.adapt.settings import AdaptSettings
from trilemma.attacks.settings import PATHS
from trilemma.study.stage import Loading, Source, Stage, StageRun, source_setting

if TYPE_CHECKING:
    from trilemma.adapt import AdaptJob

CHOICE = "sweep.json"
"""The file that holds the chosen rate."""


_WORDS = 2
"""Raised when attacks change other words of the same text."""


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """What a model is adapted to and how: shared by the sweep and by the training of every seed.

    Attributes:
        task: whose training split is learned.
        labels, metrics: of that task.
        train: the split's fingerprint.
        adapt: settings; paths in them are absolute.
        attack_reads: hashes of what an adaptation reads that attacks its training split.
        load: how the model's folder may be opened.
    """

    task: str
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    train: str
    adapt: AdaptSettings
    attack_reads: Mapping[str, str]
    load: Loading

    def settings(self, *without: str) -> dict[str, Any]:
        """All that can change the result.

        Args:
            without: further fields of ``adapt`` that change nothing.
        """
        unused = {"checkpoint_steps", *without}
        if not attacks_training(self.adapt):
            unused.add("adversarial")
        adapt = self.adapt.model_dump(mode="json", exclude=unused)
        if self.attack_reads:  # what is read counts, wherever it is
            attack = adapt["adversarial"]
            attack["settings"] = {k: v for k, v in attack["settings"].items() if k not in PATHS}
        chosen_by = {"metrics": self.metrics[:1]} if self._chooses_by_metric else {}
        return {
            **{field: getattr(self, field) for field in ("task", "labels", "train")},
            **chosen_by,
            "adapt": adapt,
            "load": asdict(self.load),
            **({"adversarial_resources": self.attack_reads} if self.attack_reads else {}),
            **({"words": _WORDS} if attacks_training(self.adapt) else {}),
        }

    @property
    def _chooses_by_metric(self) -> bool:
        """Whether the task's first metric chooses the learning rate or the checkpoint."""
        return self.adapt.trials > 1 or self.adapt.early_stopping is not None

    def job(self, run: StageRun, source: Source, seed: int) -> "AdaptJob":
        """What is adapted to what, of the weights that ``source`` names."""
        from trilemma.adapt import AdaptJob

        task = run.data.task(self.task)
        return AdaptJob(run.model(source), task, self.adapt, seed, **asdict(self.load))


def attacks_training(settings: AdaptSettings) -> bool:
    """Whether an adaptation attacks its training split."""
    return settings.method == "adversarial-training"


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep(Stage, kind="sweep", version=3, of_one_candidate=True):
    """Trains shortly at each rate, with the first seed, and keeps the best rate."""

    training: TrainingInputs
    source: Source
    seed: int

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.training.settings("epochs"), **source_setting(self.source), "seed": self.seed}

    def compute(self, run: StageRun) -> None:
        from trilemma.adapt import sweep

        facts = sweep(
            self.training.job(run, self.source, self.seed),
            run.data.examples(self.training.task, "train"),
            work=run.work,
            progress=run.progress,
        )
        run.facts.update(asdict(facts))
        (run.out / CHOICE).write_text(json.dumps(run.facts, indent=1), "utf-8")
