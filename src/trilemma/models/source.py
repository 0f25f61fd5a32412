"""Where a model is: a folder or an id of the Hugging Face hub, checked before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import model_info, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from trilemma.errors import ModelError
from trilemma.models.checkpoints import require_buildable
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
