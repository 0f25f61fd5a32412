"""``trilemma profile --frequencies --queries``: a frequency for each class of queries, in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trilemma.clocks.choose import Phases, Place
    from trilemma.clocks.query_features import Tokenize
    from trilemma.clocks.query_policy import ClassedQueries
    from trilemma.profiling.subject import ProfiledModel


def by_query(
    places: "Mapping[Place, Phases]",
    queries: Sequence[str],
    slowdown: float,
    tokenizers: "Mapping[str, Tokenize]",
) -> dict[str, list[str]]:
    """Classes of queries, and what each phase of each class should run at.

    Args:
        places: settings at two or more lengths.
        queries: texts.
        slowdown: share of time that may be added to each phase.
        tokenizers: by model; of others, words and marks are counted.

    Returns:
        Sentences by model and batch.
    """
    from trilemma.clocks.query_features import words_and_marks
    from trilemma.clocks.query_policy import class_queries
    from trilemma.errors import DeployError

    said: dict[str, list[str]] = {}
    for model, batch in dict.fromkeys((place.model, place.batch) for place in places):
        own = {p.length: phases for p, phases in places.items() if (p.model, p.batch) == (model, batch)}
        most = max((tuple(phases) for phases in own.values()), key=len)
        by_length = {length: phases for length, phases in own.items() if tuple(phases) == most}
        title = f"{model}, batch {batch}, {len(queries)} queries"
        try:
            found = class_queries(queries, by_length, slowdown, tokenizers.get(model, words_and_marks))
        except DeployError as error:
            said[title] = [f"no classes: {error}"]
            continue
        counted = "tokens" if model in tokenizers else "words and marks, as the model has no tokenizer"
        said[title] = [f"lengths in {counted}", *_classes(found)]
    return said


def _classes(found: "ClassedQueries") -> Iterator[str]:
    from trilemma.clocks.choose import clocks_in_words

    ranks = [
        f"{name.replace('_', ' ')} {one.spearman:+.2f}"
        for name, one in found.correlations.items()
        if one.spearman is not None
    ]
    yield f"Spearman's correlation with the energy of so many tokens: {', '.join(ranks)}"
    classes = found.policy.classes
    ends = ["", *(f"{bound:g}" for bound in classes.bounds), ""]
    for number, plan in found.policy.plans.items():
        low, high = ends[number], ends[number + 1]
        where = f"{low} to below {high}" if low and high else f"below {high}" if high else f"from {low}"
        what = f"{classes.feature.replace('_', ' ')} {where}" if low or high else "all"
        measured = f"{found.counts[number]} queries, measured at {found.lengths[number]}"
        yield f"{what} ({measured}): {clocks_in_words(plan.settings)}; saves {plan.saving:.0%}"


def tokenizers_of(subjects: "Sequence[ProfiledModel]") -> "dict[str, Callable[[str], list[int]]]":
    """What counts a text's tokens, by name of the model, for those that have a tokenizer."""
    from trilemma.errors import ModelError
    from trilemma.models.loading import load_tokenizer

    found: dict[str, Callable[[str], list[int]]] = {}
    for one in subjects:
        try:
            tokenizer = load_tokenizer(one.folder, trust_remote_code=one.trust_remote_code)
        except ModelError:
            continue
        found[one.name] = lambda text, own=tokenizer: list(own(text)["input_ids"])  # type: ignore[misc]
    return found
