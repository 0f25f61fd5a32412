"""`trilemma pretrain`: one model from scratch into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from trilemma.architectures import DEFAULT_VOCABULARY, SIZES, NewModel
from trilemma.terminal import output, print_lines


def pretrain(
    corpus: Annotated[
        list[Path],
        typer.Option(
            help="A .txt file (documents between blank lines, or one per line where there are none), or a "
            ".jsonl or .parquet file (one document per row, in the column text); may be repeated."
        ),
    ],
    arch: Annotated[str, typer.Option(help="transformer-pp, gla or matmul-free.")],
    out: Annotated[Path, typer.Option(help="Model folder to write; must not exist yet.")],
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "micro",
    tokens: Annotated[str, typer.Option(help="Tokens to train on: a number, or one with k, M or B.")] = "10M",
    vocabulary: Annotated[
        int, typer.Option(help="Tokenizer size, when one is trained.")
    ] = DEFAULT_VOCABULARY,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Use this tokenizer folder instead of training one.")
    ] = None,
    length: Annotated[int, typer.Option(help="Tokens per sequence.")] = 256,
    batch: Annotated[int, typer.Option(help="Sequences per step.")] = 32,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak rate; default the architecture's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of weights and order.")] = 0,
) -> None:
    """Train a language model from scratch; the same command resumes one that was stopped."""
    from trilemma.study.console import progress_bar
    from trilemma.training.pretrain_settings import read_settings
    from trilemma.training.pretraining import pretrain, summary

    settings = read_settings(tokens=tokens, length=length, batch=batch, learning_rate=learning_rate)
    console = output()
    with progress_bar(f"pretraining {arch}-{size}") as progress:
        facts = pretrain(
            NewModel(arch, size),
            corpus,
            out,
            settings,
            tokenizer=tokenizer or vocabulary,
            seed=seed,
            progress=progress,
        )
    print_lines(console, *summary(facts, out))
