"""Hashes of what attacks read: a changed dictionary or model changes the key of what was made with it."""

import hashlib
import importlib.metadata
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from trilemma.attacks.resources import load
from trilemma.attacks.settings import EMBEDDED, MODELS, PATHS, AttackSettings
from trilemma.errors import AttackError
from trilemma.files import sha256

Resource = Literal[
    "wordnet", "vectors", "encoder", "masked_model", "paraphraser", "sememes", "part_of_speech", "templates"
]
"""What a recipe may read by default: the setting that names it."""


def fingerprint(settings: AttackSettings, reads: Collection[str] = ()) -> dict[str, str]:
    """Hashes of the resources that the settings name, and of those that a recipe reads by default, by name.

    Raises:
        AttackError: if one is missing.
    """
    named = {name for name in settings.model_fields_set & (MODELS | PATHS) if getattr(settings, name)}
    if settings.similarity is not None:
        named.add("encoder")
    tagged = settings.part_of_speech or ("part_of_speech" in reads and settings.part_of_speech is None)
    named |= {"part_of_speech"} if tagged else set()
    reads = set(reads) - {"part_of_speech"}
    return {name: _hash(name, getattr(settings, name)) for name in sorted(named.union(reads))}


def _hash(name: str, value: str | None) -> str:
    if value == EMBEDDED:
        return EMBEDDED
    if name == "part_of_speech":
        load.tagger()  # its error names what is missing
        return f"HanTa {importlib.metadata.version('HanTa')}"
    if name == "wordnet":
        folder = load.wordnet(value)
        return _digest(folder.folder, folder.files)
    if value is None:
        raise AttackError(f"the recipe needs the setting `{name}`; name a file or a model for it")
    place = Path(load.model_folder(value, f"the setting `{name}`", "install it") if name in MODELS else value)
    if place.is_dir():
        return _digest(place, sorted(path for path in place.rglob("*") if path.is_file()))
    if place.is_file():
        return _digest(place.parent, [place])
    if name in MODELS:
        return value  # a hub id
    raise AttackError(f"the setting `{name}` names {value}, which does not exist; correct the path")


def _digest(root: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
        digest.update(name + sha256(path).encode())
    return digest.hexdigest()
