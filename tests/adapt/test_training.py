"""Adapting tiny models: what is learnt, what is written, and that runs can be repeated and resumed."""

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel, TrainingArguments

import trilemma.models  # noqa: F401
from tests.stand_ins.tiny_adapt import ARCHITECTURES, SCORE, SENTIMENT, model_folder, scores, sentiment
from tests.stand_ins.tiny_models import tiny_bert
from trilemma.adapt import ADAPTATIONS, Adaptation, AdaptFacts, AdaptJob, AdaptSettings, adapt
from trilemma.adapt.adaptation import TaskLoss
from trilemma.adapt.encoding import EncodedExamples
from trilemma.adapt.methods.full import Full
from trilemma.errors import DataError, DivergedError, ModelError, TrilemmaError
from trilemma.inference.classifier import Classifier
from trilemma.inference.reading import _in_groups, settle
from trilemma.models import loading
from trilemma.training import loop
from trilemma.training.loop import Optimisation, TrainingJob, last_checkpoint, train
from trilemma.training.order import LengthGroupedOrder
from trilemma.training.precision import choose_precision


class KilledError(Exception):
    """Stands for a kill."""


def run(
    source: Path, tmp: Path, task=SENTIMENT, train=None, rate=1e-2, name="a", progress=None, **fields
) -> AdaptFacts:
    settings = AdaptSettings(
        **{"epochs": 3, "batch": 16, "precision": "float32", "learning_rate": rate, **fields}
    )
    (tmp / f"work-{name}").mkdir(exist_ok=True)
    listener = {"progress": progress} if progress else {}
    return adapt(
        AdaptJob(source, task, settings, seed=1),
        train or sentiment(200),
        learning_rate=rate,
        out=tmp / f"out-{name}",
        work=tmp / f"work-{name}",
        **listener,
    )


def weights(tmp: Path, name: str = "a") -> dict[str, torch.Tensor]:
    return load_file(tmp / f"out-{name}" / "model.safetensors")


def assert_same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def killed_at(step: int, batch: int = 16):
    def progress(done: float, total: float, unit: str) -> None:
        if done >= step * batch:
            raise KilledError

    return progress


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("source"))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_learns_and_becomes_a_complete_folder(arch: str, precision: str, tmp_path: Path) -> None:
    source = model_folder(tmp_path / "source", arch)
    seen: list[tuple[float, float, str]] = []
    facts = run(source, tmp_path, precision=precision, progress=lambda *report: seen.append(report))
    test = sentiment(100, seed=9)
    logits = Classifier.load(tmp_path / "out-a").logits(test.texts)
    assert (logits.argmax(axis=1) == np.array(test.labels)).mean() > 0.95
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out-a")
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model.config.label2id == {"negative": 0, "positive": 1}
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.float32}
    assert (
        model.config.use_cache == AutoModelForSequenceClassification.from_pretrained(source).config.use_cache
    )
    assert facts.steps == 39 and seen[-1] == (39 * 16, 39 * 16, "examples")
    assert facts.precision.startswith(precision)
    assert facts.loss_curve[-1][1] < 0.3 < facts.loss_curve[0][1]
    assert facts.trainable_parameters == model.num_parameters()
    assert json.loads(json.dumps(dataclasses.asdict(facts)))["epochs"] == 3


def test_regression_is_learnt_by_squared_error(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path, task=SCORE, train=scores(300), epochs=6)
    test = scores(50)
    answers = Classifier.load(tmp_path / "out-a").probabilities(test.texts)
    assert answers.shape == (50, 1)
    assert np.abs(answers[:, 0] - np.array(test.labels)).mean() < 0.5


def test_an_encoder_of_another_family_is_adapted(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "source")
    tokenizer = loading.load_tokenizer(source)
    config = BertConfig(
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    loading.save(BertModel(config), tokenizer, tmp_path / "bert")
    run(tmp_path / "bert", tmp_path, max_length=64, epochs=4, rate=3e-3)
    test = sentiment(60, seed=9)
    logits = Classifier.load(tmp_path / "out-a", max_length=64).logits(test.texts)
    assert (logits.argmax(axis=1) == np.array(test.labels)).mean() > 0.9
    with pytest.raises(ModelError, match=r"takes at most 64 tokens; set adapt\.max_length"):
        run(tmp_path / "bert", tmp_path, max_length=65, name="b")


def test_same_seed_same_weights_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path, epochs=1)
    run(folder, tmp_path, epochs=1, name="b")
    assert_same_weights(weights(tmp_path), weights(tmp_path, "b"))
    settings = AdaptSettings(epochs=1, batch=16, precision="float32")
    (tmp_path / "work-c").mkdir()
    places = {"out": tmp_path / "out-c", "work": tmp_path / "work-c"}
    adapt(AdaptJob(folder, SENTIMENT, settings, seed=2), sentiment(200), learning_rate=1e-2, **places)
    assert not torch.equal(weights(tmp_path)["score.weight"], weights(tmp_path, "c")["score.weight"])


@pytest.fixture(scope="module", params=["full", "lora"])
def undisturbed(
    request, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, AdaptFacts]:
    tmp = tmp_path_factory.mktemp(request.param)
    return request.param, tmp, run(folder, tmp, epochs=1.5, method=request.param, checkpoint_steps=4)


@pytest.mark.parametrize("step", [5, pytest.param(15, marks=pytest.mark.slow), 20])
def test_a_killed_run_ends_as_an_undisturbed_one(
    folder: Path, tmp_path: Path, undisturbed, step: int
) -> None:
    method, other, whole = undisturbed
    fields = {"epochs": 1.5, "method": method, "checkpoint_steps": 4}
    with pytest.raises(KilledError):
        run(folder, tmp_path, progress=killed_at(step), **fields)
    assert not (tmp_path / "out-a").exists()
    checkpoint = last_checkpoint(tmp_path / "work-a")
    assert checkpoint is not None and checkpoint.name == f"checkpoint-{(step - 1) // 4 * 4}"
    resumed = run(folder, tmp_path, **fields)
    assert_same_weights(weights(other), weights(tmp_path))
    assert (resumed.steps, resumed.rows) == (whole.steps, whole.rows) == (20, 200)


def test_a_run_killed_after_its_last_step_is_not_trained_again(
    folder: Path, undisturbed, tmp_path: Path
) -> None:
    method, other, whole = undisturbed
    (tmp_path / "out-a").mkdir()
    (tmp_path / "work-a").symlink_to(other / "work-a")
    seen: list[float] = []
    fields = {"epochs": 1.5, "method": method, "checkpoint_steps": 4}
    facts = run(folder, tmp_path, progress=lambda done, *_: seen.append(done), **fields)
    assert seen == [] and (facts.steps, facts.loss_curve) == (whole.steps, whole.loss_curve)
    assert_same_weights(weights(other), weights(tmp_path))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as on a terminal: a shell starts what runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_leaves_a_checkpoint_and_is_resumed(
    folder: Path, undisturbed: tuple[str, Path, AdaptFacts], tmp_path: Path
) -> None:
    method, other, whole = undisturbed
    fields = {"epochs": 1.5, "method": method}

    def interrupted(done: float, total: float, unit: str) -> None:
        if done == 7 * 16:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path, progress=interrupted, **fields)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    checkpoint = last_checkpoint(tmp_path / "work-a")
    assert checkpoint is not None and checkpoint.name == "checkpoint-7"
    resumed = run(folder, tmp_path, **fields)
    assert_same_weights(weights(other), weights(tmp_path))
    assert resumed.steps == whole.steps


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_does_not_wait_for_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    def interrupted(done: float, total: float, unit: str) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path, progress=interrupted)
    assert last_checkpoint(tmp_path / "work-a") is None


def test_checkpoints_are_written_by_time(tmp_path: Path) -> None:
    class Rows(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return 8

        def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
            return {"x": torch.tensor(indices, dtype=torch.float32)[:, None]}

    def killed(done: float, total: float, unit: str) -> None:
        if done == 6:
            raise KilledError

    for seconds, kept in ((0.0, True), (60.0, False)):
        rows, work = Rows(), tmp_path / str(seconds)
        how = Optimisation(
            steps=8,
            batch=1,
            learning_rate=0.1,
            seed=0,
            precision=choose_precision("float32"),
            checkpoint_seconds=seconds,
        )
        job = TrainingJob(
            rows,
            SequentialSampler(rows),
            lambda model, batch: (model(batch["x"]).mean(), None),
            how,
            "steps",
            1,
        )
        with pytest.raises(KilledError):
            train(nn.Linear(1, 1), job, work=work, progress=killed)
        assert (last_checkpoint(work) is not None) == kept


def test_a_half_written_checkpoint_is_ignored(tmp_path: Path) -> None:
    whole, half = tmp_path / "checkpoint-4", tmp_path / "checkpoint-8"
    whole.mkdir()
    (whole / "trainer_state.json").write_text("{}")
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_st')
    (tmp_path / "checkpoint-12").mkdir()
    assert last_checkpoint(tmp_path) == whole
    assert not half.exists() and not (tmp_path / "checkpoint-12").exists()
    assert last_checkpoint(tmp_path / "nowhere") is None


def test_accumulation_changes_memory_not_mathematics(folder: Path, tmp_path: Path) -> None:
    train = sentiment(160)
    run(folder, tmp_path, train=train, epochs=1)
    run(folder, tmp_path, train=train, epochs=1, gradient_accumulation=4, name="b")
    one, four = weights(tmp_path), weights(tmp_path, "b")
    assert all(torch.allclose(one[name], four[name], atol=1e-4) for name in one)


@pytest.mark.parametrize("fields", [{}, {"class_weights": "balanced"}])
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_unequal_parts_of_a_batch_weigh_by_their_rows_and_classes(
    tmp_path: Path, parts: int, fields: dict[str, str]
) -> None:
    source = model_folder(tmp_path / "source")
    train = sentiment(37, positive=0.3)  # the last batch has 5 rows, in parts of 8, 4 or 2
    settings = {"train": train, "epochs": 2, "rate": 1e-3, **fields}
    run(source, tmp_path, **settings)
    run(source, tmp_path, gradient_accumulation=parts, name="b", **settings)
    one, other = weights(tmp_path), weights(tmp_path, "b")
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 3e-6


class Breaks(Full):
    """Training whose third batch has no loss."""

    calls = 0

    def loss(self, model, batch, task_loss):
        loss, output = super().loss(model, batch, task_loss)
        type(self).calls += 1
        return loss * (float("nan") if self.calls == 3 else 1.0), output


def test_a_loss_that_is_not_a_number_ends_the_training_at_once(folder: Path, tmp_path: Path) -> None:
    with (
        ADAPTATIONS.holding({"breaks": Breaks}),
        pytest.raises(DivergedError, match=r"at step 3 of 39, at learning rate 0.01 with batch 16"),
    ):
        run(folder, tmp_path, method="breaks")
    assert Breaks.calls == 3
    assert not (tmp_path / "out-a").exists()


class OnlyNegative(Adaptation):
    """A plug-in: trains on negative rows only, without the backbone."""

    def examples(self, train, settings, seed):
        from trilemma.adapt.slices import take

        return take(train, [i for i, label in enumerate(train.labels) if label == 0])

    def prepare(self, model, settings):
        model.requires_grad_(False)
        model.score.requires_grad_(True)
        return model


def test_a_plug_in_chooses_examples_and_weights(folder: Path, tmp_path: Path) -> None:
    train = sentiment(100)
    with ADAPTATIONS.holding({"only-negative": OnlyNegative}):
        facts = run(folder, tmp_path, train=train, method="only-negative", rate=0.1)
    assert facts.rows == train.labels.count(0.0)
    answers = Classifier.load(tmp_path / "out-a").logits(sentiment(40, seed=5).texts).argmax(axis=1)
    assert not answers.any()


def test_linear_probe_leaves_the_backbone_as_it_was(folder: Path, tmp_path: Path) -> None:
    facts = run(folder, tmp_path, method="linear-probe")
    before = load_file(folder / "model.safetensors")
    after = weights(tmp_path)
    backbone = [name for name in after if name.startswith("model.")]
    assert backbone and all(torch.equal(before[name], after[name]) for name in backbone)
    assert facts.trainable_parameters == after["score.weight"].numel()
    assert facts.loss_curve[-1][1] < facts.loss_curve[0][1]


def test_class_weights_balance_the_loss_only_when_asked(folder: Path, tmp_path: Path) -> None:
    train = sentiment(200, positive=0.1)
    run(folder, tmp_path, train=train, epochs=1)
    run(folder, tmp_path, train=train, epochs=1, class_weights="balanced", name="b")
    means = [Classifier.load(tmp_path / f"out-{n}").probabilities(train.texts)[:, 1].mean() for n in "ab"]
    assert means[1] > means[0] + 0.1
    with pytest.raises(DataError, match="regression and has no classes"):
        run(folder, tmp_path, task=SCORE, train=scores(20), class_weights="balanced", name="c")


def test_task_loss_is_the_textbook_one() -> None:
    logits, labels = torch.tensor([[2.0, -1.0], [0.5, 0.5]]), torch.tensor([0.0, 1.0])
    expected = -torch.log_softmax(logits, -1)[[0, 1], [0, 1]]
    assert torch.allclose(TaskLoss()(logits, labels), expected.mean())
    weighted = (expected * torch.tensor([1.0, 3.0])).sum() / 4
    assert torch.allclose(TaskLoss(torch.tensor([1.0, 3.0]))(logits, labels), weighted)
    assert TaskLoss()(torch.tensor([[2.0], [0.0]]), torch.tensor([1.0, 2.0])) == 2.5


def test_early_stopping_ends_early_with_the_best_checkpoint(folder: Path, tmp_path: Path) -> None:
    fields = {"early_stopping": {"patience": 1, "every": 0.5}, "held_out": 40, "epochs": 20}
    facts = run(folder, tmp_path, **fields)
    # 200 rows, of which one repeats a held-out sentence
    assert (facts.rows, facts.held_out_rows, facts.held_out_metric) == (159, 40, "accuracy")
    assert facts.steps < 200 and facts.epochs == facts.steps / 10
    assert facts.held_out_value is not None and facts.held_out_value > 0.9
    seen: list[float] = []
    again = run(folder, tmp_path, progress=lambda done, *_: seen.append(done), **fields)
    assert seen == [] and again.held_out_value == facts.held_out_value
    with pytest.raises(KilledError):
        run(folder, tmp_path, name="b", progress=killed_at(12), **fields)
    run(folder, tmp_path, name="b", **fields)
    assert_same_weights(weights(tmp_path), weights(tmp_path, "b"))


def test_long_rows_are_cut_and_counted(folder: Path, tmp_path: Path) -> None:
    tokenizer = loading.load_tokenizer(folder)
    model = loading.load_classifier(folder, 2, seed=0)
    train = sentiment(60)
    reading = settle(model, tokenizer)
    lengths = EncodedExamples(train, tokenizer, model, reading, 128).lengths
    limit = int(np.median(lengths))
    data = EncodedExamples(train, tokenizer, model, reading, limit)
    assert data.truncated == (lengths > limit).mean() and 0 < data.truncated < 1
    batch = data.__getitems__([int(lengths.argmin()), int(lengths.argmax())])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, limit)
    assert batch["attention_mask"].sum(1).tolist() == [lengths.min(), limit]
    assert (batch["input_ids"][batch["attention_mask"] == 0] == tokenizer.pad_token_id).all()


@pytest.mark.parametrize(
    ("capabilities", "onednn", "expected"),
    [
        ({"avx512_bf16": True}, True, "bfloat16"),
        ({"amx_bf16": True, "avx512_bf16": False}, True, "bfloat16"),
        ({"avx512_f": True}, True, "float32"),
        ({"avx512_bf16": True}, False, "float32"),
    ],
)
def test_bfloat16_is_chosen_where_the_cpu_multiplies_it(capabilities, onednn, expected, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision("auto").name == expected
    assert choose_precision("float32") == ("float32", "as asked")
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert choose_precision("auto").name == "float32"


def test_batches_hold_rows_of_one_length_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, size=1003)
    order = LengthGroupedOrder(lengths, 10, seed=0)
    first = list(order)
    assert sorted(first) == list(range(1003)) and list(order) == first
    batches = lengths[first[:1000]].reshape(100, 10)
    spread = batches.max(1) - batches.min(1)
    assert spread.mean() < 5
    longest = batches.max(1)
    assert np.corrcoef(longest, np.arange(100))[0, 1] ** 2 < 0.1
    order.set_epoch(1)
    assert list(order) != first


def test_a_batch_that_devices_cannot_share_is_refused(folder: Path, tmp_path: Path, monkeypatch) -> None:
    from transformers import TrainingArguments

    monkeypatch.setattr(TrainingArguments, "world_size", property(lambda self: 3))
    with pytest.raises(TrilemmaError, match="cannot be cut into 3 equal parts"):
        run(folder, tmp_path)


@pytest.mark.parametrize(("in_parts", "devices"), [(False, 2), (True, 1)])
def test_a_model_read_in_parts_is_trained_on_one_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: bool, devices: int
) -> None:
    def on_two(**fields: Any) -> Any:
        made = TrainingArguments(**fields)
        assert made.n_gpu == 0
        made._n_gpu = 2
        return made

    monkeypatch.setattr(loop, "TrainingArguments", on_two)
    model = tiny_bert()
    if in_parts:
        _in_groups(model, lambda ids, mask: mask.sum(1))
    how = Optimisation(steps=1, batch=16, learning_rate=0.1, seed=0, precision=choose_precision("float32"))
    arguments = loop._arguments(nn.Sequential(model), how, None, tmp_path)
    assert (arguments.n_gpu, arguments.per_device_train_batch_size) == (devices, 16 // devices)
