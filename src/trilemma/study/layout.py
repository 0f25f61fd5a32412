"""A study laid out as stages: what is wrong with it is found here, before any work."""

import time
from collections.abc import Callable, Mapping

from trilemma.attacks.settings import AttackSettings
from trilemma.errors import AttackError
from trilemma.hardware.process import require_addresses
from trilemma.study.data import StudyData
from trilemma.study.graph import Graph
from trilemma.study.origin import Origin, fetch, require_loadable, resolve
from trilemma.study.plugins import require_importable
from trilemma.study.published import PublishedSizes
from trilemma.study.spec import Study
from trilemma.study.stage import Source
from trilemma.study.stages import KINDS, adapt, create, pretrain, tokenizer, transform
from trilemma.study.stages.sweep import attacks_training


def lay_out(
    study: Study,
    *,
    offline: bool = False,
    machine: Mapping[str, str] | None = None,
    preparing: Callable[[str], None] = lambda what: None,
) -> Graph:
    """Read the data, find the models and lay out the stages.

    Args:
        study: the validated study.
        offline: fetch nothing: hub data and models are taken at their published sizes.
        machine: hardware, versions and kernels that efficiency is measured with; by default this machine's.
        preparing: called with what is being done.

    Raises:
        TrilemmaError: for whatever would stop the study.
    """
    require_addresses()
    require_importable(study)
    preparing("reading the data")
    data = PublishedSizes(study) if offline and study.data == "hub" else StudyData(study)
    data.check()
    require_attacks(study, data)
    origins: dict[str, Origin] = {}
    for model in study.models:
        if model.id and not offline:
            preparing(f"fetching {model.id}")
            origins[model.label] = fetch(model)
        else:
            origins[model.label] = resolve(model, study.base)
        require_loadable(model, origins[model.label])
    preparing("laying out the stages")
    progress = _counting(preparing)
    graph = Graph(study, data, origins, provenance() if machine is None else machine)
    _lay_out_sources(graph)
    for task in study.tasks:
        for adaptation in study.adapt:
            for model in study.models:
                progress(len(graph.stages))
                for adapted in adapt.lay_out(graph, model, task, adaptation):
                    graph.adapted.append(adapted)
                    for kind in KINDS:
                        asked = kind.of_adapted(graph, adapted) if kind.of_adapted else ()
                        adapted.asked.extend(graph.add(stage) for stage in asked)
    for kind in KINDS:
        for stage in kind.of_study(graph) if kind.of_study else ():
            graph.add(stage)
            progress(len(graph.stages))
    return graph


def _counting(preparing: Callable[[str], None]) -> Callable[[int], None]:
    """Says every two seconds how many stages there are so far."""
    said = time.monotonic()

    def progress(stages: int) -> None:
        nonlocal said
        if time.monotonic() - said >= 2:
            said = time.monotonic()
            preparing(f"laying out the stages, {stages:,} so far")

    return progress


def _lay_out_sources(graph: Graph) -> None:
    """Where the weights come from, for each candidate and seed."""
    study = graph.study
    shared = tokenizer.lay_out(graph) if any(model.from_scratch for model in study.models) else None
    for model in study.models:
        for seed in study.seeds:
            source: Source = graph.origins[model.label]
            if shared is not None and model.from_scratch:
                source = (
                    pretrain.lay_out(graph, model, shared)
                    if model.pretrain
                    else create.lay_out(graph, model, seed, shared)
                )
            for name in model.transforms:
                source = transform.lay_out(graph, model, name, source, seed)
            graph.sources[model.label, seed] = source


def require_attacks(study: Study, data: StudyData) -> None:
    """Build every attack once, those of adversarial training too: what is missing is found before any work.

    Raises:
        AttackError: naming what is missing and how to get it.
    """
    from trilemma.attacks import build, require_misclassification

    for spec in study.tasks:
        task = data.task(spec.name)
        used: list[tuple[str, AttackSettings]] = []
        if task.labels is not None and not task.hidden_labels:
            used += [(attack.recipe, study.attack_settings(attack)) for attack in study.robustness.attacks]
        for model in study.models:
            for adaptation in study.adapt:
                chosen = study.settings_for(adaptation, spec, model)
                if attacks_training(chosen):
                    own = chosen.adversarial
                    used.append((own.recipe, study.with_absolute_paths(own.settings)))
                    if task.labels is None:
                        raise AttackError(
                            f"{task.name} is a regression: no attack can make its answers wrong; "
                            "adversarial-training is for classes"
                        )
        for recipe, settings in used:
            require_misclassification(recipe)
            build(recipe, settings, task)


def provenance() -> dict[str, str]:
    """What an artifact is computed with, beside what its key holds."""
    import torch

    from trilemma.hardware import machine
    from trilemma.ops import compiled_kernels

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "hardware": machine.hardware(device, clock=False),
        "versions": machine.versions(),
        "kernels": compiled_kernels(),
    }
