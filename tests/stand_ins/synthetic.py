"""Plausible synthetic results of any size: the two tables of a study that never ran."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from trilemma.analysis.scores import score
from trilemma.metrics import METRICS
from trilemma.records import FAKE_QUANTISED, ITEMS, Record, records_table, write_table
from trilemma.tasks import get

ARCHITECTURES = ("transformer-pp", "gla", "matmul-free", "bert")
MODELS = ("transformer-pp-nano", "gla-nano", "matmul-free-nano", "minilm", "gla-b", "gla-c", "gla-d", "gla-e")
LABELS = {
    "sst2": ("negative", "positive"),
    "qnli": ("entailment", "not_entailment"),
    "qqp": ("not_duplicate", "duplicate"),
    "mnli": ("entailment", "neutral", "contradiction"),
    "rte": ("entailment", "not_entailment"),
}
METHODS = {
    "word": ("TextBugger", "TextFooler", "BERT-ATTACK"),
    "sentence": ("SCPN", "T3", "StressTest"),
    "human": ("CheckList",),
}
SUBJECTS = ("the film", "this quiet drama", "her second novel", "the soundtrack", "an uneven script")
VERBS = ("delivers", "never finds", "slowly earns", "overplays", "quietly justifies")
OBJECTS = ("its emotional weight", "a reason to care", "the promise of its opening", "every joke twice")
DECODE = 32
"""Tokens generated after each prompt."""

DETAILS = ("from the first scene on", "in spite of itself", "with patience and wit", "long before the end")


def tables(
    models: int = 3,
    tasks: Sequence[str] = ("sst2", "qnli"),
    seeds: Sequence[int] = (0, 1),
    clean: int = 300,
    adversarial: int = 140,
    skill: Sequence[float] = (0.84, 0.82, 0.78, 0.88, 0.75, 0.8, 0.79, 0.83),
    robustness: Sequence[float] = (0.42, 0.56, 0.50, 0.40, 0.45, 0.52, 0.48, 0.5),
    random: int = 0,
    flags: Sequence[str] = (),
) -> tuple[pa.Table, pa.Table]:
    """Records and items of ``models`` candidates; ``clean`` and ``adversarial`` items a task."""
    generator = np.random.default_rng(random)
    parts = []
    for task in tasks:
        for adversary in (False, True):
            base = _inputs(generator, task, adversarial if adversary else clean, adversary)
            for model in range(models):
                for seed in seeds:
                    parts.append(
                        _answers(generator, base, task, model, seed, skill[model], robustness[model])
                    )
    items = pa.concat_tables(parts)
    return records_table(_records(items, models, tasks, seeds, flags)), items


def frames(**arguments: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same as pandas frames."""
    records, items = tables(**arguments)  # type: ignore[arg-type]
    return records.to_pandas(), items.to_pandas()


def write_run(folder: Path, **arguments: object) -> Path:
    """Write both tables as a finished run has them."""
    folder.mkdir(parents=True, exist_ok=True)
    records, items = tables(**arguments)  # type: ignore[arg-type]
    write_table(records, folder / "records.parquet")
    write_table(items, folder / "items.parquet")
    return folder


def _inputs(generator: np.random.Generator, task: str, count: int, adversary: bool) -> pd.DataFrame:
    """The columns that do not depend on the model; several adversaries share an origin."""
    pair = task != "sst2"
    origin = np.arange(count) // 2 if adversary else np.arange(count)
    words = [generator.integers(0, n, count)[origin] for n in (5, 5, 4, 4)]
    sentence = [
        f"{SUBJECTS[a]} {VERBS[b]} {OBJECTS[c]} {DETAILS[d]} ({o})"
        for a, b, c, d, o in zip(*words, origin, strict=True)
    ]
    level = np.array(["word", "word", "sentence", "sentence", "human"])[np.arange(count) % 5]
    method = [METHODS[name][i % len(METHODS[name])] for i, name in enumerate(level)]
    shown = [_perturb(text, name) if adversary else text for text, name in zip(sentence, level, strict=True)]
    second = "What does the review say about the ending?"
    as_input = (lambda text: [second, text]) if pair else (lambda text: [text])
    original = [
        None if not adversary or name == "human" else as_input(t)
        for t, name in zip(sentence, level, strict=True)
    ]
    return pd.DataFrame(
        {
            "study": "synthetic",
            "task": task,
            "set": f"adv_{task}" if adversary else "validation",
            "id": [f"{task}-{'a' if adversary else 'c'}{i}" for i in range(count)],
            "level": level if adversary else "clean",
            "method": method if adversary else "",
            "origin": [f"{task}-{o}" for o in origin],
            "original": original,
            "shown": [as_input(text) for text in shown],
            "labels": [list(LABELS[task])] * count,
            "gold": generator.integers(0, len(LABELS[task]), count)[origin].astype(float),
        }
    )


def _perturb(text: str, level: str) -> str:
    if level == "word":
        return (
            text.replace("emotional", "emotoinal")
            .replace("reason", "reas0n")
            .replace("first", "frist")
            .replace("the ", "teh ", 1)
        )
    if level == "sentence":
        return f"{text} and that is true and true is true"
    return f"I used to think otherwise, but {text}"


def _answers(
    generator: np.random.Generator,
    base: pd.DataFrame,
    task: str,
    model: int,
    seed: int,
    skill: float,
    robust: float,
) -> pa.Table:
    count, classes = len(base), len(LABELS[task])
    gold = base["gold"].to_numpy()
    adversary = (base["level"] != "clean").to_numpy()
    original_right = generator.random(count) < skill
    hard = base["level"].map(
        {"clean": skill, "word": robust + 0.08, "sentence": robust, "human": robust - 0.2}
    )
    right = generator.random(count) < hard.to_numpy(float)
    answer = np.where(right, gold, (gold + 1) % classes)
    original = np.where(original_right, gold, (gold + 1) % classes)
    paired = adversary & base["original"].notna().to_numpy()
    columns = {
        **{name: base[name].tolist() for name in base.columns},
        "model": [MODELS[model]] * count,
        "arch": [ARCHITECTURES[model % 4]] * count,
        "adaptation": ["full"] * count,
        "seed": [seed] * count,
        "answer": answer,
        "probabilities": list(_probabilities(generator, answer, classes)),
        "original_answer": pa.array(original, mask=~paired),
        "original_probabilities": [
            p if keep else None
            for p, keep in zip(_probabilities(generator, original, classes), paired, strict=True)
        ],
    }
    return pa.table([pa.array(columns[f.name]).cast(f.type) for f in ITEMS], schema=ITEMS)


def _probabilities(generator: np.random.Generator, answer: np.ndarray, classes: int) -> np.ndarray:
    logits = generator.normal(0, 0.6, (len(answer), classes))
    logits[np.arange(len(answer)), answer.astype(int)] += 2
    exponential = np.exp(logits)
    return (exponential / exponential.sum(1, keepdims=True)).astype(np.float32)


def _records(
    items: pa.Table, models: int, tasks: Sequence[str], seeds: Sequence[int], flags: Sequence[str]
) -> list[Record]:
    """Performance and robustness as scored; made-up efficiency."""
    scored = score(items, {task: get(task) for task in tasks}, partial={("qqp", "validation"): True})
    index = {MODELS[i]: i for i in range(models)}
    complete = [replace(r, **_facts(index[r.model]), flags=(*r.flags, *flags)) for r in scored]  # type: ignore[arg-type]
    return [*(record for i in range(models) for record in _efficiency(i)), *complete]


def _facts(model: int) -> dict[str, object]:
    return {
        "arch": ARCHITECTURES[model % 4],
        "parameters": 1_300_000 + 40_000 * model,
        "hardware": "2 × Synthetic CPU, 1 thread, 2.4 GHz",
        "kernel": ("sdpa", "torch-chunkwise", "torch-scan, fake-quantised", "sdpa")[model % 4],
        "versions": "torch 2.13.0, transformers 5.23.0",
    }


def _efficiency(model: int) -> list[Record]:
    rows: list[Record] = []

    def add(query: str, value: float | None, width: float = 0.0, **more: object) -> None:
        """A record of METRIC@PHASE; ``width`` is that of its interval, as a share of the value."""
        name, _, phase = query.partition("@")
        unit = METRICS[name].unit if name in METRICS else "J/token"
        columns: dict[str, object] = {"study": "synthetic", "model": MODELS[model], "axis": "E"}
        columns |= {"metric": name, "phase": phase, "value": value, "unit": unit}
        columns["basis"] = "counted" if name in METRICS and METRICS[name].exact else "measured"
        columns["adaptation"] = "full" if phase == "train" else ""
        columns["flags"] = (FAKE_QUANTISED,) if model % 4 == 2 else ()
        if value is None:
            columns["status"] = "not measured"
        if value is not None and width:
            columns |= {"low": value * (1 - width), "high": value * (1 + width), "n": 30}
        rows.append(Record(**(columns | _facts(model) | more)))  # type: ignore[arg-type]

    parameters = 1_300_000 + 40_000 * model
    add("parameters", parameters)
    add("non_embedding_parameters", 300_000 + 2_000 * model)
    add("weight_bytes", 4.0 * parameters)
    add("flops_per_token", 2.1 * parameters)
    quadratic = model % 4 in (0, 3)
    for length in (32, 128, 512, 2048):
        for batch in (1, 16):
            at = {"batch": batch, "length": length}
            answer = at | {"decode": DECODE}
            tokens = batch * length
            latency = 2 + model * 0.7 + tokens * 0.01 * (1 + (length / 700 if quadratic else 0.3 * model))
            add("state_bytes@generate", batch * (1024.0 * length if quadratic else 65_536.0), **answer)
            add("latency_ms@classify", latency, 0.04, **at)
            add("latency_p95_ms@classify", latency * 1.2, **at)
            add("throughput_tokens_per_s@classify", 1000 * tokens / latency, 0.04, **at)
            peak = 6e6 + 3e5 * model + tokens * (900 + length * quadratic)
            add("peak_memory_bytes@classify", peak, 0.01, **at)
            further = 1.5 + length * quadratic / 500 + 0.2 * model
            add("ttft_ms@prefill", latency * 1.1, 0.04, **answer)
            add("tpot_ms@decode", further, 0.04, **answer)
            add("latency_ms@decode", (DECODE - 1) * further, 0.04, **answer)
            add("latency_ms@generate", latency * 1.1 + (DECODE - 1) * further, 0.04, **answer)
            add("throughput_tokens_per_s@decode", 1000 * batch / further, 0.04, **answer)
            for phase, milliseconds in (
                ("classify", latency),
                ("prefill", latency * 1.1),
                ("decode", further),
            ):
                where = at if phase == "classify" else answer
                add(f"flops@{phase}", 2.1 * parameters * (batch if phase == "decode" else tokens), **where)
                add(f"bytes_moved@{phase}", 4.0 * parameters + 900 * tokens, **where)
                add(f"roofline_ms@{phase}", 0.6 * milliseconds, note="memory", **where)
                add(f"roofline_share@{phase}", 0.6, low=0.6 / 1.04, high=0.6 / 0.96, n=30, **where)
            off = 1 + 0.05 * model  # by how much this model's forecasts miss
            foreseen = {"basis": "forecast", "confidence": 0.9}
            add("latency_ms@classify", latency * off, 0.12, **at, **foreseen)
            add("tpot_ms@decode", further * off, 0.12, **answer, **foreseen)
            if length <= 512:
                memory = 3e7 + 2e6 * model + tokens * (9000 + 2 * length * quadratic)
                add("peak_memory_bytes@train", memory, 0.01, **at)
            else:
                add("peak_memory_bytes@train", None, reason="out of memory", **at)
    add("machine_bytes_per_s", 3e10)
    add("machine_flops_per_s", 9e10, precision="float32", note="products in float32")
    add("energy_joules_per_token", None, reason="no energy meter")
    return rows
