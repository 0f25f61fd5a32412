"""Where a model is: a folder or an id of the Hugging Face hub, checked before anything is loaded."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import model_info, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError, safe_open

from trilemma.errors import ModelError, one_line
from trilemma.models.configuration import MOST_LAYERS
from trilemma.models.gguf import SUFFIX, unpacked

SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
HUB_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class ModelLocation:
    """What ``from_pretrained`` is given.

    Attributes:
        name: folder or hub id.
        local_files_only: whether only the hub's local cache is to be read.
    """

    name: str
    local_files_only: bool = False


def find(source: str | Path, *, weights: bool, allow_pickle: bool) -> ModelLocation:
    """Find a model.

    Args:
        source: folder, GGUF file or hub id.
        weights: whether its weights are needed, not only its tokenizer.
        allow_pickle: whether pickled weights may be opened.

    Raises:
        ModelError: if there is none, or it has no weights that may be opened.
    """
    text = str(source) if str(source).strip() else ""
    folder = Path(text).expanduser()
    if text and folder.suffix == SUFFIX and folder.is_file():
        return ModelLocation(str(unpacked(folder)))
    if text and folder.is_dir():
        _check_folder(folder, weights, allow_pickle)
        return ModelLocation(str(folder))
    looks_like_path = isinstance(source, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1
    if looks_like_path or not text or folder.exists():
        what = "is not a folder" if text and folder.exists() else "does not exist"
        raise ModelError(
            f"the model folder {text!r} {what}; give a Hugging Face folder or a hub id like name/model"
        )
    return ModelLocation(text, local_files_only=_only_in_cache(text, weights, allow_pickle))


def download(
    name: str, *, trust_remote_code: bool, allow_pickle: bool, local_files_only: bool = False
) -> Path:
    """The folder of a hub model's snapshot: downloaded once, then found in the hub's cache.

    Raises:
        ModelError: where the hub cannot be reached and the cache has no snapshot.
    """
    patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    patterns += ["*.py"] if trust_remote_code else []
    patterns += ["*.bin"] if allow_pickle else []
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=local_files_only))
    except Exception as error:  # what a failing connection raises depends on the hub library's version
        raise ModelError(
            f"cannot fetch {name} from the Hugging Face Hub ({type(error).__name__}); check the id and the "
            "connection, or give the model as a folder"
        ) from error


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


def _check_folder(folder: Path, weights: bool, allow_pickle: bool) -> None:
    require_buildable(folder)
    if not weights and (folder / "tokenizer_config.json").is_file():
        return
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} has no config.json, which a Hugging Face model folder has beside its weights"
        )
    if not weights or any((folder / name).is_file() for name in SAFE_WEIGHTS):
        return
    if not any(folder.glob("*.bin")):
        raise ModelError(f"{folder} has no weights: it holds neither {' nor '.join(SAFE_WEIGHTS)}")
    if not allow_pickle:
        raise _only_pickled(folder)


def _only_in_cache(name: str, weights: bool, allow_pickle: bool) -> bool:
    """Whether the hub cannot be reached, but its local cache holds the model."""
    try:
        siblings = model_info(name, timeout=HUB_TIMEOUT_SECONDS).siblings or []
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a hub id like name/model") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no folder {name!r} and no public hub model of that name "
            "(for a private or gated one, log in with `hf auth login`)"
        ) from error
    except HfHubHTTPError as error:
        raise ModelError(
            f"the Hugging Face hub refuses the model {name}: {str(error).splitlines()[0]}"
        ) from error
    except Exception as error:  # what a failing connection raises depends on the hub library's version
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return True
        raise ModelError(
            f"there is no folder {name!r}, and the Hugging Face hub cannot be reached; "
            "go online once, or give a folder"
        ) from error
    if weights and not allow_pickle and not {file.rfilename for file in siblings} & {*SAFE_WEIGHTS}:
        raise _only_pickled(name)
    return False


def _only_pickled(source: str | Path) -> ModelError:
    return ModelError(
        f"{source} has no safetensors, only pickled weights, which can run code when they are opened; "
        "convert them to safetensors, or set allow_pickle if you trust their author"
    )
