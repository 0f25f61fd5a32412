"""What the three configurations share: field names, defaults, and errors for what is not supported.

Field names are those of the published checkpoints, so that their ``config.json`` loads as it is and saves
back without loss. Fields that select a kernel change nothing here and are only kept; a field that would
change the mathematics in a way that is not implemented here is refused by name.
"""

import math
from dataclasses import fields
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from trilemma.errors import ModelError

# Larger numbers than these are typing errors, not models: refused before torch tries to allocate them.
LARGEST_WIDTH = 1 << 20
LARGEST_VOCABULARY = 1 << 24
MOST_LAYERS = 10_000


class LanguageModelConfig(PreTrainedConfig):  # type: ignore[misc]
    """Fields of every language model here.

    Attributes:
        hidden_size: width D of the residual stream.
        num_hidden_layers: number of blocks L.
        hidden_ratio: MLP width over ``hidden_size`` before the gate's 2/3 correction; null means 4.
        intermediate_size: MLP width I; null derives it from ``hidden_ratio`` (:meth:`mlp_width`).
        initializer_range: standard deviation of new weights.
    """

    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    family: ClassVar[str]
    """The architecture's name in :mod:`trilemma.architectures`."""
    is_ternary: ClassVar[bool] = False
    """Whether weights act as -1, 0, 1."""
    epsilon_field: ClassVar[str] = "norm_eps"
    epsilon_alias: ClassVar[str] = "rms_norm_eps"
    """Older and newer files name the norms' epsilon differently; the field is used where both are given."""

    vocab_size: int = 32000
    hidden_size: int = 2048
    num_hidden_layers: int = 24
    hidden_ratio: float | None = 4
    intermediate_size: int | None = None
    hidden_act: str = "swish"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    elementwise_affine: bool = True
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Settle the epsilon's name, keep unknown fields as attributes, then check all of them."""
        other = kwargs.pop(self.epsilon_alias, None)
        if getattr(self, self.epsilon_field) is None:
            setattr(self, self.epsilon_field, 1e-6 if other is None else other)
        for name in ("rope_scaling", "rope_parameters"):
            if value := kwargs.pop(name, None):
                raise self.unsupported(name, "null", value)
        super().__post_init__(**kwargs)
        self.check()

    def mlp_width(self) -> int:
        """Width I: ``intermediate_size``, or 2/3 of ``hidden_size * hidden_ratio`` to the next 256 up."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        ratio = 4 if self.hidden_ratio is None else self.hidden_ratio
        return 256 * math.ceil(int(self.hidden_size * ratio * 2 / 3) / 256)

    def check(self) -> None:
        """Refuse what is out of range or not supported.

        Raises:
            ModelError: naming the field, its value and what would be right.
        """
        for field in fields(self):
            if field.type is bool and not isinstance(getattr(self, field.name), bool):
                raise self.unsupported(field.name, "true or false")
        self.require_integer("vocab_size", LARGEST_VOCABULARY)
        self.require_integer("hidden_size", LARGEST_WIDTH)
        self.require_integer("num_hidden_layers", MOST_LAYERS)
        if self.intermediate_size is not None:
            self.require_integer("intermediate_size", 4 * LARGEST_WIDTH)
        elif self.hidden_ratio is not None:
            self.require_positive("hidden_ratio")
        self.require_positive("initializer_range", zero_allowed=True)
        self.require_positive(self.epsilon_field)
        if self.hidden_act not in ("swish", "silu"):
            raise self.unsupported("hidden_act", "'swish' (or its other name 'silu')")
        self.require_value("elementwise_affine", True)
        for name in ("attention_bias", "mlp_bias", "attn"):
            if getattr(self, name, None):
                raise self.unsupported(name, "null or false")

    def require_integer(self, name: str, largest: int) -> None:
        """Refuse field ``name`` unless it is an integer from 1 to ``largest``."""
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
            raise self.unsupported(name, f"a whole number from 1 to {largest}")

    def require_positive(self, name: str, zero_allowed: bool = False) -> None:
        """Refuse field ``name`` unless it is a finite number above zero."""
        value = getattr(self, name)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < 0 or (value == 0 and not zero_allowed):
            raise self.unsupported(name, "a positive number")

    def require_value(self, name: str, supported: object) -> None:
        """Refuse field ``name`` unless it has the one value that is implemented."""
        if getattr(self, name) != supported:
            raise self.unsupported(name, repr(supported))

    def require_divisor(self, part: str, whole: str) -> None:
        """Refuse unless field ``part`` divides field ``whole``."""
        if getattr(self, whole) % getattr(self, part) != 0:
            raise self.unsupported(part, f"a divisor of {whole} = {getattr(self, whole)}")

    def unsupported(self, name: str, right: str, value: object = None) -> ModelError:
        """The error for field ``name``, whose value is ``value`` where it is not yet an attribute."""
        value = getattr(self, name) if value is None else value
        return ModelError(f"{self.model_type} model: {name} = {value!r} is not supported; it must be {right}")
