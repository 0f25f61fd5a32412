"""Conformance checks that a plug-in author runs on their own class, in a test.

Each check raises :class:`AssertionError` with one sentence that says what a plug-in of its kind must do
and what this one did instead; a check that returns has passed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trilemma.tasks import get, open_source
from trilemma.tasks.task import AdversarialExamples, Examples, Source, Task, Text

if TYPE_CHECKING:
    from trilemma.adapt import Adaptation
    from trilemma.architectures import Architecture
    from trilemma.attacks import Attack, Attacked
    from trilemma.inference.classifier import Classifier
    from trilemma.profiling import Measurement
    from trilemma.transforms import Transform


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


_READ_TWICE = ("fingerprint", "ids", "texts", "labels")


def check_task(task: Task, source: Source | None = None) -> None:
    """A task's splits can be read, agree with its description, and read the same twice.

    Args:
        task: the task.
        source: where its examples come from; default the task's own ``data``.
    """
    from trilemma.study.data_warnings import LEAST, share_shared
    from trilemma.tasks.official_metrics import compute, refused

    source = source or task.data
    if source is None:
        raise AssertionError(f"{task.name}: give a source, or a task that has `data`")
    fields = f"{task.name}: fields must name one or two text columns, not {task.fields}"
    _check(1 <= len(task.fields) <= 2, fields)
    _check(bool(task.metrics), f"{task.name}: metrics must name at least one metric, the primary one first")
    for metric in task.metrics:
        why = refused(metric, len(task.labels or ()))
        _check(not why, f"{task.name}: metrics: {why}")
    train = source.load(task, "train")
    for split in ("train", *task.evaluation_splits):
        where = f"{task.name}/{split}"
        examples = source.load(task, split)
        _check_examples(task, examples, split)
        shared = share_shared(train, examples) if split != "train" else 0.0
        _check(shared < LEAST, f"{where}: {shared:.0%} of the items are in the training split too")
        again = source.load(task, split)
        same = all(getattr(again, name) == getattr(examples, name) for name in _READ_TWICE)
        _check(same, f"{where}: must read the same twice, in the same order")
        if split in task.evaluation_splits and not task.hidden_labels:
            gold = [float(label) for label in examples.labels if label is not None]
            for metric in task.metrics:
                perfect = compute(metric, gold, gold)
                _check(perfect > 0.99, f"{where}: gold answers must score 1 by {metric}, not {perfect}")


def _check_examples(task: Task, examples: Examples, split: str) -> None:
    where = f"{task.name}/{split}"
    n = len(examples)
    _check(n > 0, f"{where}: must not be empty")
    alike = len(examples.ids) == len(examples.labels) == n
    _check(alike, f"{where}: ids, texts and labels must be equally many")
    _check(len(set(examples.ids)) == n, f"{where}: ids must be unique")
    for text in examples.texts:
        _check(len(text) == len(task.fields), f"{where}: every item must have {len(task.fields)} text(s)")
        _check(all(isinstance(part, str) for part in text), f"{where}: texts must be str")
    hidden = task.hidden_labels and split in task.evaluation_splits
    for label in examples.labels:
        if label is None:
            _check(hidden, f"{where}: a label is missing; only a task with hidden_labels may lack them")
        elif task.labels is not None:
            index = float(label).is_integer() and 0 <= label < len(task.labels)
            _check(index, f"{where}: label {label} is not an index into {task.labels}")
    if isinstance(examples, AdversarialExamples):
        for column in ("levels", "methods", "originals", "origins"):
            _check(len(getattr(examples, column)) == n, f"{where}: {column} must have one entry an item")


_SENTENCES: tuple[Text, ...] = (
    ("a good film",),
    ("a film that is not good at all , in spite of its stars",),
    ("dull",),
    ("an honest , warm and quietly moving story about two brothers and a boat",),
    ("the plot makes no sense",),
)


def check_model(folder: str | Path, *, trust_remote_code: bool = False) -> None:
    """A model folder can be a candidate: its classifier and language model behave as the study needs.

    Right padding and batch order do not change a classifier's answers; saving and loading does not
    either; a causal model's prefill and single steps equal its full forward pass.

    Args:
        folder: a Hugging Face model folder with a tokenizer.
        trust_remote_code: whether code in the folder may run.
    """
    import torch

    from trilemma.inference.classifier import Classifier
    from trilemma.models import loading

    tokenizer = loading.load_tokenizer(folder, trust_remote_code=trust_remote_code)
    model = loading.load_classifier(folder, 3, seed=0, trust_remote_code=trust_remote_code)
    classifier = Classifier(model, tokenizer)
    together = classifier.logits(_SENTENCES)
    _check(together.shape == (len(_SENTENCES), 3), f"logits must be [items, classes], not {together.shape}")
    alone = np.concatenate([classifier.logits([sentence]) for sentence in _SENTENCES])
    _check(_close(together, alone), "an item's logits must not depend on the padding of its batch (to 1e-4)")
    reverse = classifier.logits(_SENTENCES[::-1])[::-1]
    _check(_close(together, reverse), "an item's logits must not depend on the order of the batch (to 1e-4)")
    with TemporaryDirectory() as saved:
        loading.save(model, tokenizer, Path(saved))
        reloaded = Classifier.load(saved).logits(_SENTENCES)
    _check(_close(together, reloaded, 1e-5), "saving and loading must not change the logits")
    description = loading.describe(model)
    counted = sum(weights.numel() for weights in model.parameters())
    _check(description.parameters == counted, "describe() must count all weights")
    if not description.causal:
        return
    language_model = loading.load_language_model(folder, trust_remote_code=trust_remote_code).eval()
    ids = tokenizer(_SENTENCES[3][0], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        full = language_model(ids).logits
        prefill = language_model(ids[:, :-2], use_cache=True)
        step = language_model(ids[:, -2:-1], past_key_values=prefill.past_key_values, use_cache=True)
        last = language_model(ids[:, -1:], past_key_values=step.past_key_values, use_cache=True)
    steps = torch.cat([prefill.logits, step.logits, last.logits], dim=1).float().numpy()
    same = _close(full.float().numpy(), steps, 1e-3)
    _check(same, "prefill and single steps must equal the full forward pass")


def _close(a: NDArray[Any], b: NDArray[Any], tolerance: float = 1e-4) -> bool:
    return bool(np.allclose(a, b, atol=tolerance, rtol=tolerance))


def check_architecture(architecture: "Architecture", size: str = "nano") -> None:
    """An architecture makes configurations that build, repeat themselves, and pass :func:`check_model`.

    Args:
        architecture: the callable that the entry point names.
        size: a small size that it has.
    """
    from trilemma.architectures import ARCHITECTURES
    from trilemma.models import loading
    from trilemma.training.tokenizer import train_tokenizer

    name = f"checked-{getattr(architecture, '__name__', type(architecture).__name__)}"
    if name not in ARCHITECTURES:
        ARCHITECTURES.register(name, architecture)
    tokenizer = train_tokenizer((text for texts in _SENTENCES for text in texts), 300)
    twice = [loading.create(name, size, tokenizer, seed=0) for _ in range(2)]
    same = all(bool((a == b).all()) for a, b in zip(*(model.parameters() for model in twice), strict=True))
    _check(same, f"{name}: the same seed must give the same weights")
    with TemporaryDirectory() as folder:
        loading.save(twice[0], tokenizer, Path(folder))
        check_model(folder)


def check_adaptation(name_or_class: "str | type[Adaptation]") -> None:
    """An adaptation changes a tiny model, leaves a plain loadable folder, and repeats itself under a seed."""
    from trilemma.adapt import ADAPTATIONS, AdaptJob, AdaptSettings, adapt
    from trilemma.inference.classifier import Classifier

    if isinstance(name_or_class, str):
        name = name_or_class
        ADAPTATIONS.get(name)
    else:
        name = f"checked-{name_or_class.__name__}"
        if name not in ADAPTATIONS:
            ADAPTATIONS.register(name, name_or_class)
    settings = AdaptSettings(method=name, epochs=1, batch=16, learning_rate=1e-2, precision="float32")
    with _tiny_model() as (base, train):
        job = AdaptJob(base, get("sst2"), settings, seed=0)
        answers = [_classifier(base).logits(train.texts)]
        for attempt in ("first", "second"):
            out, work = (base.with_name(f"{attempt}-{folder}") for folder in ("out", "work"))
            out.mkdir()
            work.mkdir()
            facts = adapt(job, train, learning_rate=1e-2, out=out, work=work)
            _check(facts.steps > 0, f"{name}: must take at least one step")
            answers.append(Classifier.load(out).logits(train.texts))
    _check(_close(answers[1], answers[2], 1e-6), f"{name}: the same seed must give the same model")
    _check(not _close(answers[0], answers[1], 1e-6), f"{name}: adaptation must change the model's answers")


@contextmanager
def _tiny_model() -> Iterator[tuple[Path, Examples]]:
    """The folder of a tiny model, and the task's rows that its tokenizer was trained on."""
    from trilemma.models import loading
    from trilemma.training.tokenizer import train_tokenizer

    rows = open_source("embedded").load(get("sst2"), "train")
    first = {name: getattr(rows, name)[:64] for name in ("ids", "texts", "labels")}
    train = replace(rows, **first, fingerprint=f"{rows.fingerprint} first 64")
    tokenizer = train_tokenizer((text for texts in train.texts for text in texts), 512)
    with TemporaryDirectory() as temporary:
        base = Path(temporary) / "base"
        loading.save(loading.create("transformer-pp", "nano", tokenizer, 0), tokenizer, base)
        yield base, train


def _classifier(folder: Path) -> "Classifier":
    """A classifier of two classes on the model in a folder, with a new head of seed 0."""
    from trilemma.inference.classifier import Classifier
    from trilemma.models import loading

    return Classifier(loading.load_classifier(folder, 2, seed=0), loading.load_tokenizer(folder))


class _Keyword:
    """A victim with a known weakness: positive if and only if a text holds the word *good*."""

    queries = 0

    def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        self.queries += len(texts)
        positive = np.array([any("good" in part.split() for part in text) for text in texts])
        return np.where(positive[:, None], [[0.1, 0.9]], [[0.9, 0.1]]).astype(np.float32)


def _white_box() -> Any:
    """A victim that shows gradients, and counts them and its answers: a tiny model."""
    from trilemma.inference.classifier import Classifier
    from trilemma.inference.gradients import TokenGradients

    class Counting(Classifier):
        queries = 0

        def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
            self.queries += len(texts)
            return self.probabilities(texts)

        def gradients(self, texts: Sequence[Text], labels: Sequence[int]) -> list[TokenGradients]:
            self.queries += len(texts)
            return super().gradients(texts, labels)

    with _tiny_model() as (base, _):
        plain = _classifier(base)
    return Counting(plain.model, plain.tokenizer)


def check_attack(attack: "Attack", *, budget: int = 50) -> None:
    """An attack keeps to its budget, keeps the shape of its inputs, and repeats itself under a seed.

    One that is ``white_box`` attacks a tiny model, another one a rule that gives probabilities alone.
    """
    from trilemma.attacks import Attack, AttackRun

    _check(isinstance(attack, Attack), "an attack must be derived from trilemma.attacks.Attack")
    levels = ("word", "sentence", "human", "unknown")
    level = getattr(attack, "level", None)
    _check(level in levels, f"level must be word, sentence, human or unknown, not {level!r}")
    inputs: list[Text] = [
        ("a good film",),
        ("a film so good that i saw it twice",),
        ("good",),
        ("",),
        ("ünïcode \U0001f3ac good",),
    ]
    victim = _white_box() if attack.white_box else _Keyword()
    labels = [int(p.argmax()) for p in victim(inputs)]
    runs = []
    for _ in range(2):
        victim.queries = 0
        finished: dict[int, Attacked] = {}
        run = AttackRun(budget, finished=finished.__setitem__)
        try:
            results = attack(victim, list(inputs), list(labels), run)
        except Exception as error:
            raise AssertionError(
                f"an attack must not fail on any text, however short: on {inputs} it raised "
                f"{type(error).__name__}: {error}"
            ) from error
        _check(len(results) == len(inputs), "an attack must return one result per item, in order")
        for text, result in zip(inputs, results, strict=True):
            _check(len(result.text) == len(text), "an attack must keep the number of texts of an item")
            _check(all(isinstance(part, str) for part in result.text), "an adversarial text must be str")
            _check(result.queries <= budget, f"an item took {result.queries} queries; its budget is {budget}")
        counted = victim.queries <= sum(result.queries for result in results)
        _check(counted, f"the victim was asked {victim.queries} times, but the results count fewer queries")
        own = finished.items() <= dict(enumerate(results)).items()
        _check(own, "what is reported as finished must be the result of the item with that index")
        runs.append([result.text for result in results])
    _check(runs[0] == runs[1], "the same seed must give the same adversarial texts")
    _check(attack(victim, [], [], AttackRun(budget)) == [], "no items must give no results")
    turned = attack(victim, inputs[::-1], labels[::-1], AttackRun(budget))
    place = [result.text for result in turned[::-1]] == runs[0]
    _check(place, "a result must depend on the item and the seed alone, not on the item's place in the list")


def check_transform(transform: "Transform") -> None:
    """A transform writes a loadable model folder and repeats itself under a seed."""
    answers = []
    with _tiny_model() as (base, train):
        for attempt in ("first", "second"):
            out = base.with_name(attempt)
            out.mkdir()
            transform(base, out, 0)
            answers.append(_classifier(out).logits(train.texts))
    _check(_close(answers[0], answers[1], 1e-6), "the same seed must give the same model")


def check_measurement(measurement: "Measurement") -> None:
    """A measurement yields records of axis E with units, for every name of a model and once each."""
    from trilemma.metrics import METRICS
    from trilemma.profiling import EfficiencyGrid, ModelUnderTest, profile

    grid = EfficiencyGrid(batch=[1], length=[8], decode=2, rounds=6, seconds=0.1)
    with _tiny_model() as (base, _):
        records = profile([ModelUnderTest(("a", "b"), base)], grid, measurements=[measurement])
    _check(bool(records), "a measurement must yield at least one record")
    places: set[tuple[str | int | None, ...]] = set()
    for record in records:
        metric = METRICS.get(record.metric)
        _check(record.axis == "E", f"{record.metric}: the axis must be E, not {record.axis}")
        _check(bool(record.unit), f"{record.metric}: needs a unit")
        recorded = metric is None or record.phase in (metric.phases or ("",))
        _check(recorded, f"{record.metric}: is not recorded in the phase {record.phase!r}")
        what = (record.model, record.metric, record.phase, record.adaptation)
        place = (*what, record.batch, record.length, record.decode)
        _check(place not in places, f"{record.metric}: is recorded twice at one point")
        places.add(place)
    _check({record.model for record in records} == {"a", "b"}, "every name of the model needs its records")
