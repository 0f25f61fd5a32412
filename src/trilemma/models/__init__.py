"""Language models as Hugging Face models: importing this package registers them with the Auto classes.

``transformer`` (Transformer++), ``gla`` (gated linear attention) and ``hgrn_bit`` (MatMul-Free), with the
model types, configuration fields and parameter names of the published checkpoints.
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from trilemma.models.gla import GLAConfig, GLAForCausalLM, GLAForSequenceClassification, GLAModel
from trilemma.models.matmul_free import (
    HGRNBitConfig,
    HGRNBitForCausalLM,
    HGRNBitForSequenceClassification,
    HGRNBitModel,
)
from trilemma.models.transformer_pp import (
    TransformerConfig,
    TransformerForCausalLM,
    TransformerForSequenceClassification,
    TransformerModel,
)

__all__ = [
    "GLAConfig",
    "GLAForCausalLM",
    "GLAForSequenceClassification",
    "GLAModel",
    "HGRNBitConfig",
    "HGRNBitForCausalLM",
    "HGRNBitForSequenceClassification",
    "HGRNBitModel",
    "TransformerConfig",
    "TransformerForCausalLM",
    "TransformerForSequenceClassification",
    "TransformerModel",
]

for _config, _model, _language_model, _classifier in (
    (TransformerConfig, TransformerModel, TransformerForCausalLM, TransformerForSequenceClassification),
    (GLAConfig, GLAModel, GLAForCausalLM, GLAForSequenceClassification),
    (HGRNBitConfig, HGRNBitModel, HGRNBitForCausalLM, HGRNBitForSequenceClassification),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
    AutoModelForCausalLM.register(_config, _language_model, exist_ok=True)
    AutoModelForSequenceClassification.register(_config, _classifier, exist_ok=True)
