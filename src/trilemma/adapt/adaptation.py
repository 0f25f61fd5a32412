"""The interface of an adaptation: which weights train, on which examples, by which loss."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from trilemma.adapt.settings import AdaptJob, AdaptSettings
from trilemma.progress import Progress
from trilemma.tasks.task import Examples


class Adaptation(ABC):
    """One way to adapt a classifier to a task; a new object serves every training.

    Only :meth:`prepare` must be written. Training itself (batches, optimiser, schedule, precision,
    checkpoints) is the same for all adaptations, so that they stay comparable.

    Attributes:
        notes: sentences on what :meth:`prepare` could not do for the model, for its records.
    """

    notes: tuple[str, ...] = ()

    def examples(self, train: Examples, settings: AdaptSettings, seed: int) -> Examples:
        """The examples that are trained on; by default all rows as they are.

        Args:
            train: training rows, without the held-out slice and what exceeds the row cap.
            settings: the adaptation's settings.
            seed: the training seed; the same seed must give the same examples.
        """
        del settings, seed
        return train

    @abstractmethod
    def prepare(self, model: PreTrainedModel, settings: AdaptSettings) -> nn.Module:
        """The model as it is trained: weights frozen by ``requires_grad``, or wrapped.

        Args:
            model: a sequence classifier whose head is new; may be changed in place.
            settings: the adaptation's settings.

        Raises:
            ModelError: where the method does not fit the model, naming the remedy.
        """

    def loss(self, model: nn.Module, batch: dict[str, Tensor], task_loss: "TaskLoss") -> tuple[Tensor, Any]:
        """Loss of one batch and the model's output; by default the task's own loss.

        Args:
            model: the prepared model, in training mode (in evaluation mode on the held-out slice).
            batch: ``input_ids``, ``attention_mask`` ``[B, T]``, for some models ``token_type_ids``, and
                ``labels`` ``[B]``.
            task_loss: the task's own loss.
        """
        output = model(**{name: tensor for name, tensor in batch.items() if name != "labels"})
        return task_loss(output.logits, batch["labels"]), output

    def further_examples(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        job: AdaptJob,
        train: Examples,
        *,
        work: Path,
        progress: Progress,
    ) -> tuple[Examples, float] | None:
        """Examples made on the trained model, with which training is then repeated; by default none.

        Args:
            model: the trained classifier.
            tokenizer: its tokenizer.
            job: the task, the settings and the seed.
            train: the rows it was trained on.
            work: a folder that outlives a killed run.
            progress: counts work done.

        Returns:
            The examples, with the labels of their training rows, and the seconds that making them took, also
            where an earlier run did so.
        """
        return None

    def finish(self, model: nn.Module) -> PreTrainedModel:
        """The trained model as a plain classifier that can be saved; undoes what ``prepare`` wrapped."""
        assert isinstance(model, PreTrainedModel)
        model.requires_grad_(True)
        return model


class TaskLoss:
    """Cross-entropy for classes, squared error for a regression, both in float32.

    Args:
        class_weights: one weight per class ``[outputs]``, or None.
    """

    def __init__(self, class_weights: Tensor | None = None) -> None:
        self.class_weights = class_weights

    def weight(self, labels: Tensor) -> float:
        """What a batch's mean is a mean over: rows, or the sum of their classes' weights."""
        if self.class_weights is None:
            return float(len(labels))
        return float(self.class_weights[labels.long().cpu()].sum())

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of ``logits`` ``[B, outputs]`` against class indices or scores ``labels`` ``[B]``."""
        logits = logits.float()
        if logits.shape[-1] == 1:
            return nn.functional.mse_loss(logits.squeeze(-1), labels.float())
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return nn.functional.cross_entropy(logits, labels.long(), weight=weights)
