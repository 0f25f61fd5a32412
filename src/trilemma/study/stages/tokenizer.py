"""The byte-level BPE tokenizer that all models from scratch share."""

from dataclasses import dataclass

from trilemma.architectures import DEFAULT_VOCABULARY
from trilemma.study.data import Corpus
from trilemma.study.graph import Graph
from trilemma.study.stage import Stage, StageRun


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokenizer(Stage, kind="tokenizer", version=1):
    """Trains it on the corpus of pretraining, or where there is none on the tasks' training texts.

    Attributes:
        vocabulary: tokens.
        corpus: files; None for the tasks' texts.
        tasks: the tasks whose training splits are read.
        texts: fingerprints of those splits.
    """

    vocabulary: int
    corpus: Corpus | None = None
    tasks: tuple[str, ...] | None = None
    texts: tuple[str, ...] | None = None

    def compute(self, run: StageRun) -> None:
        from trilemma.training.corpus import read_texts
        from trilemma.training.tokenizer import train_tokenizer

        if self.corpus is not None:
            texts = read_texts(list(self.corpus.paths))
        else:
            texts = (
                text
                for task in self.tasks or ()
                for pair in run.data.examples(task, "train").texts
                for text in pair
            )
        trained = train_tokenizer(texts, self.vocabulary)
        trained.save_pretrained(run.out)
        run.facts["vocabulary"] = len(trained)


def lay_out(graph: Graph) -> Tokenizer:
    """The study's tokenizer."""
    study, data = graph.study, graph.data
    if study.pretrain:
        vocabulary = study.pretrain.vocabulary
        return graph.add(Tokenizer(title="on the corpus", vocabulary=vocabulary, corpus=data.corpus))
    tasks = tuple(sorted({data.training_task(task.name) for task in study.tasks}))
    texts = tuple(data.examples(task, "train").fingerprint for task in tasks)
    return graph.add(
        Tokenizer(title="on the training texts", vocabulary=DEFAULT_VOCABULARY, tasks=tasks, texts=texts)
    )
