"""What is adapted to what, and how: shared by the sweep of rates and the adaptation itself."""

from dataclasses import dataclass
from pathlib import Path

from trilemma.adapt.settings import AdaptSettings
from trilemma.tasks.task import Task


@dataclass(frozen=True)
class AdaptJob:
    """One model on one task.

    Attributes:
        source: folder or hub id of a Hugging Face model.
        task: what is asked; a regression where it has no labels.
        settings: how.
        seed: seed of slices, the new head, batches and dropout; fixes the result on one machine.
        trust_remote_code: whether Python code that comes with the model may run.
        allow_pickle: whether weights that are not safetensors may be opened.
    """

    source: str | Path
    task: Task
    settings: AdaptSettings
    seed: int
    trust_remote_code: bool = False
    allow_pickle: bool = False
