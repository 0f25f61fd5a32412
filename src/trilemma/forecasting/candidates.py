"""From a model's name to what a forecast needs of it: dimensions and bytes of weights, no weights read."""

from pathlib import Path
from typing import Any

from trilemma.errors import DeployError, ModelError
from trilemma.forecasting.forecast import Candidate
from trilemma.hardware.catalogue import Machine, closest
from trilemma.profiling.operations import WEIGHT_BYTES, shape_of, weight_bytes

VOCABULARY = 8192
"""Rows of the embedding of an ``ARCH:SIZE``, as of the tokenizers that studies train."""

LARGEST = 1 << 24
"""Of a dimension that is believed."""

AUTO = "auto"
"""The precision in which a model is usually deployed on a machine."""


def config_of(name: str) -> Any:
    """Configuration of a folder, a hub id or ``ARCH:SIZE``.

    Raises:
        ModelError: if there is none.
    """
    from transformers import AutoConfig

    from trilemma.models.sizes import configuration
    from trilemma.models.source import find

    arch, colon, size = name.partition(":")
    if colon and not Path(name).expanduser().exists():
        return configuration(arch, size, VOCABULARY)
    if not (Path(name).expanduser() / "config.json").is_file() and Path(name).expanduser().is_dir():
        raise ModelError(f"{name} has no config.json; name a model folder, a hub id or ARCH:SIZE")
    place = find(name, weights=False, allow_pickle=True)
    try:
        config = AutoConfig.from_pretrained(place.name, local_files_only=place.local_files_only)
        shape = shape_of(config)
    except ModelError:
        raise
    except Exception as error:  # whatever a configuration of unknown origin may raise
        raise _unreadable(name, error) from error
    sizes = (shape.layers, shape.width, shape.heads, shape.kv_heads, shape.keys, shape.values)
    if not all(
        type(size) is int and 1 <= size <= LARGEST for size in (*sizes, shape.mlp_width, shape.vocabulary)
    ):
        raise ModelError(
            f"{name} has a configuration whose dimensions are no positive whole numbers; mend it"
        )
    return config


def _unreadable(name: str, error: Exception) -> ModelError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ModelError(f"{name} has no configuration that can be used: {reason[:200]}")


def candidate(name: str, machine: Machine, precision: str = AUTO, *, classifier: bool = False) -> Candidate:
    """A model as it would be deployed on a machine.

    Args:
        name: folder, hub id or ``ARCH:SIZE``.
        machine: it is for; ``auto`` is the first of bfloat16, float16 and float32 that a GPU multiplies,
            float32 on a processor, and there packed for MatMul-Free LM.
        precision: ``auto``, or a key of ``trilemma.profiling.operations.WEIGHT_BYTES``.
        classifier: with a head of two classes.

    Raises:
        ModelError: if there is no such model, or its family is not known.
        DeployError: for a precision that the model or the machine cannot take.
    """
    config = config_of(name)
    ternary = config.model_type == "hgrn_bit"
    if precision == AUTO:
        halves = ("bfloat16", "float16") if machine.kind == "gpu" else ()
        packed = ("packed",) if ternary and machine.kind == "cpu" else ()
        wanted = (*packed, *halves, "float32")
        precision = next((one for one in wanted if machine.multiplies(one)), "float32")
    if precision not in WEIGHT_BYTES or precision == "int8":
        known = ", ".join([AUTO, *(one for one in WEIGHT_BYTES if one != "int8")])
        raise DeployError(
            f"unknown precision {precision!r}; {closest(precision, WEIGHT_BYTES)}known: {known}"
        )
    if precision == "packed" and not ternary:
        raise DeployError(f"{name} has no ternary weights to pack; choose another precision")
    machine.rate(precision)  # or says that it has none
    try:
        weights = weight_bytes(config, precision, classifier=classifier)
    except ModelError:
        raise
    except Exception as error:  # a model that cannot be laid out
        raise _unreadable(name, error) from error
    return Candidate(name, shape_of(config), precision, weights)
