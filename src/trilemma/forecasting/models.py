"""What a forecast needs of a model: dimensions and bytes of weights by its configuration, no weights read."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from trilemma.architectures import DEFAULT_VOCABULARY, parse_new_model
from trilemma.errors import DeployError, ModelError
from trilemma.hardware.catalogue import closest
from trilemma.hardware.machine import Machine
from trilemma.profiling.operations import WEIGHT_BYTES, dimensions_of, weight_bytes

LARGEST = 1 << 24
"""Largest dimension of a configuration that is believed."""

AUTO = "auto"
"""The precision in which a model is usually deployed on a machine."""

PRECISIONS = (AUTO, *(one for one in WEIGHT_BYTES if one != "int8"))
"""Precisions in which models are forecast; how int8 weights are stored differs by library."""


class ForecastModel:
    """A model as forecasts know it.

    Args:
        name: what tables call it.
        config: its Hugging Face configuration.

    Raises:
        ModelError: if the operations of its family are not known, or its dimensions make no sense.
    """

    def __init__(self, name: str, config: Any) -> None:
        self.name, self.config = name, config
        self._weight_bytes = cache(partial(weight_bytes, config))
        with _errors_of_configurations(name):
            self.dimensions = found = dimensions_of(config)
        sizes = [found.layers, found.width, found.heads, found.kv_heads, found.keys, found.values]
        sizes += [found.mlp_width, found.vocabulary]
        if not all(type(size) is int and 1 <= size <= LARGEST for size in sizes):
            raise ModelError(
                f"{name} has a configuration whose dimensions are not positive whole numbers; fix its "
                "config.json"
            )

    @classmethod
    def find(cls, name: str) -> "ForecastModel":
        """The model of a folder, a hub id or ``ARCH:SIZE``.

        Raises:
            ModelError: if there is none, or as the constructor.
        """
        from transformers import AutoConfig

        from trilemma.models.sizes import configuration
        from trilemma.models.source import find

        if new := parse_new_model(name):
            return cls(name, configuration(*new, DEFAULT_VOCABULARY))
        path = Path(name).expanduser()
        if path.is_dir() and not (path / "config.json").is_file():
            raise ModelError(f"{name} has no config.json; name a model folder, a hub id or ARCH:SIZE")
        place = find(name, weights=False, allow_pickle=True)
        with _errors_of_configurations(name):
            config = AutoConfig.from_pretrained(place.name, local_files_only=place.local_files_only)
        return cls(name, config)

    @cached_property
    def parameters(self) -> int:
        """Number of weights."""
        return round(self.weight_bytes("float32") / 4)

    def precision_on(self, machine: Machine, asked: str = AUTO) -> str:
        """The precision in which the model would be deployed on a machine.

        Args:
            machine: it is for.
            asked: one of :data:`PRECISIONS`; ``auto`` is the first of bfloat16, float16 and float32 that a
                GPU multiplies, float32 on a processor, and there packed for MatMul-Free LM.

        Raises:
            DeployError: for a precision that is not known, or that the model or the machine cannot take.
        """
        ternary = self.dimensions.family == "matmul-free"
        if asked not in PRECISIONS:
            known = f"{closest(asked, PRECISIONS)}known: {', '.join(PRECISIONS)}"
            raise DeployError(f"unknown precision {asked!r}; {known}")
        if asked == AUTO:
            halves = ("bfloat16", "float16") if machine.kind == "gpu" else ()
            packed = ("packed",) if ternary and machine.kind == "cpu" else ()
            return next((one for one in (*packed, *halves) if machine.multiplies(one)), "float32")
        if asked == "packed" and not ternary:
            raise DeployError(f"{self.name} has no ternary weights to pack; choose another precision")
        machine.rate(asked)  # or says that it has none
        return asked

    def weight_bytes(self, precision: str, *, classifier: bool = False) -> float:
        """Bytes of the weights, with a language model's head or one of two classes.

        Raises:
            ModelError: if the model cannot be laid out.
        """
        with _errors_of_configurations(self.name):
            return float(self._weight_bytes(precision, classifier=classifier))


@contextmanager
def _errors_of_configurations(name: str) -> Iterator[None]:
    """Turn whatever a configuration of unknown origin may raise into one sentence."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{name} has no configuration that can be used: {reason[:200]}") from error
