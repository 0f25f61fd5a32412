"""Full fine-tuning: every weight trains."""

from typing import cast

from torch import nn
from transformers import PreTrainedModel

from trilemma.adapt.adaptation import Adaptation
from trilemma.adapt.settings import ADAPTATIONS, AdaptSettings


@ADAPTATIONS.plugin()
class Full(Adaptation):
    """Trains all weights, head and backbone, at one rate."""

    def prepare(self, model: PreTrainedModel, settings: AdaptSettings) -> nn.Module:
        """The model itself, every weight trainable."""
        del settings
        model.requires_grad_(True)
        return cast(nn.Module, model)
