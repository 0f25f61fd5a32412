"""What a stranger's checkpoint must be to be opened: of a size that can be built, and whole."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from trilemma.errors import ModelError, one_line
from trilemma.models.configuration import MOST_LAYERS


def require_buildable(folder: Path) -> None:
    """Refuse a ``config.json`` with absurd numbers: building the model would take hours before it fails.

    Raises:
        ModelError: naming the field.
    """
    path = folder / "config.json"
    if not path.is_file():  # an id of the hub
        return
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a readable model configuration ({one_line(error)})") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a model configuration: it holds no fields")
    counts = [one for one in _counts(config, "") if one[1] > _CERTAINLY]
    for name, count, most in counts:
        if count > most:
            raise ModelError(f"{path} says {name} {count:,}; no model has more than {most:,}")
    tensors = _tensors(folder) if counts else None
    for name, count, _ in counts:
        if tensors is not None and count > tensors and "label" not in name:
            raise ModelError(
                f"{path} says {name} {count:,}, but the weights beside it are {tensors:,} tensors; fetch the "
                "model again, or correct its config.json"
            )


_COUNT = re.compile(r"layer|block|depth|expert|num_labels")
_NO_COUNT = re.compile(
    r"size|dim|width|window|length|norm|eps|drop|position|token|index|interval|factor|coef"
)

_CERTAINLY = 400
"""Layers, or experts, that any folder may have."""

_MOST_LABELS = 1_000_000


def _counts(value: object, name: str) -> Iterator[tuple[str, float, int]]:
    """What a configuration says of how many parts a model has, wherever it stands: name, number and limit.

    Names differ by family (``num_hidden_layers``, ``encoder_layers``, ``text_config.n_layer``, ``depths``).
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _counts(inner, f"{name}.{key}" if name else str(key))
        return
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for place, inner in enumerate(value):
            yield from _counts(inner, f"{name}.{place}")
    last = name.rpartition(".")[2]
    if not _COUNT.search(last) or _NO_COUNT.search(last):
        return
    most = _MOST_LABELS if "label" in last else MOST_LAYERS
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int | float):
            yield name, number, most
    if isinstance(value, list):
        yield f"{name} of length", len(value), most


def _tensors(folder: Path) -> int | None:
    """Number of tensors in a folder's safetensors files, by their headers; None where there are none."""
    found = None
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, "np") as file:
                found = (found or 0) + len(file.keys())
        except (OSError, SafetensorError):
            return None  # what opens the weights says so
    return found


def require_complete(source: str | Path, missing: list[str]) -> None:
    """Refuse files that lack weights, which would be random numbers.

    Raises:
        ModelError: naming the first of them.
    """
    if not missing:
        return
    names = ", ".join(sorted(missing)[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    raise ModelError(
        f"the files of {source} do not hold the weights {names} in the shape that its config.json says, "
        "so they would be random numbers; fetch the model again, or correct its config.json"
    )


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from drawing its own progress bars."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()
