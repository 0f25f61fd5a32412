"""Linear probe: backbone frozen, only the new head trains (Alain and Bengio 2016, arXiv 1610.01644)."""

from typing import cast

from torch import nn
from transformers import PreTrainedModel

from trilemma.adapt.adaptation import Adaptation
from trilemma.adapt.settings import ADAPTATIONS, AdaptSettings
from trilemma.errors import ModelError


@ADAPTATIONS.plugin()
class LinearProbe(Adaptation):
    """Trains what is outside the backbone: one matrix, for some encoders a small MLP."""

    def prepare(self, model: PreTrainedModel, settings: AdaptSettings) -> nn.Module:
        """The model with its backbone frozen."""
        del settings
        backbone = model.base_model
        if backbone is model:
            raise ModelError(f"{type(model).__name__} does not separate head and backbone; use method: full")
        model.requires_grad_(True)
        backbone.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ModelError(f"{type(model).__name__} has no weights outside its backbone; use method: full")
        if "pooler" in " ".join(getattr(model, "loading_notes", ())):
            self.notes = ("the probe trains no pooler, so its answers depend on that one random layer",)
        return cast(nn.Module, model)
