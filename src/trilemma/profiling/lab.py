"""The efficiency lab: models in several forms, at every point of a grid, with all that is known of each.

Times come from one session, in which the repetitions of all models alternate; memory from a fresh process for
each point; FLOPs and bytes from the configuration; the roofline from the machine itself.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from trilemma.errors import ModelError, TrilemmaError
from trilemma.hardware import roofline
from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.hardware.machine import hardware, versions
from trilemma.models.description import ModelDescription
from trilemma.profiling.exchange import ModelProfile, PointProfile, Profile, Value
from trilemma.profiling.grid import EfficiencyGrid
from trilemma.profiling.lab_values import (
    BATCH,
    CLASSIFIED,
    COSTS,
    GENERATED,
    MEMORY,
    TRAINING,
    TRAINING_MEMORY,
    Outcome,
    estimated,
    memory_values,
    of_model,
    phase_values,
    reasons,
    training_values,
    value_of,
)
from trilemma.profiling.measurements import energy as metering
from trilemma.profiling.measurements import generation, latency, work
from trilemma.profiling.measurements.flops import count_flops
from trilemma.profiling.measurements.memory import Work, in_fresh_processes
from trilemma.profiling.measurements.training import Steps
from trilemma.profiling.points import Point, Unmeasured
from trilemma.profiling.session import NOT_GENERATIVE, Loaded, Session, beyond_positions, failure
from trilemma.profiling.subject import ProfiledModel
from trilemma.profiling.values import Timed, absent
from trilemma.profiling.variants import Variant, lacking, opened
from trilemma.progress import Progress, silent

NO_DECODING = "no tokens to decode were asked for"


class Place(NamedTuple):
    """Where values belong: a model, a point, and the method that it is trained by ("" in inference)."""

    model: str
    point: Point
    method: str = ""


Values = dict[Place, dict[str, Value]]


def run(
    sources: Sequence[str | Path],
    grid: EfficiencyGrid | None = None,
    *,
    dtypes: Sequence[str] = ("float32",),
    attention: Sequence[str] = ("",),
    compiled: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    training: bool = False,
    energy: bool = False,
    device: str | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> Profile:
    """Profile models by name, in every form that is asked for.

    Args:
        sources: folders, hub ids, or ``ARCH:SIZE``; see :func:`trilemma.profiling.variants.opened`.
        grid: batch sizes, lengths, tokens to decode, repetitions and limits.
        dtypes: precisions.
        attention: attention implementations.
        compiled: whether by ``torch.compile``.
        trust_remote_code: run code that a checkpoint brings.
        allow_pickle: read weights that are not safetensors.
        training: whether training steps are profiled too, at the grid's own points.
        energy: whether energy is measured too; where the grid has ``watts``, it is estimated anyway.
        device: torch device; by default the GPU where there is one.
        progress: told of finished measurements, in fractions.
        clock: seconds, monotonic.

    Raises:
        TrilemmaError: for a device or dtype that there is not.
        ModelError: where a model cannot be loaded, or does not fit what is asked of it.
    """
    grid = grid or EfficiencyGrid()
    require_device(device)
    with opened(
        sources,
        dtypes=dtypes,
        attention=attention,
        compiled=compiled,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    ) as variants:
        profile = measure(
            variants,
            grid,
            training=training,
            energy=energy,
            device=device,
            progress=progress,
            clock=clock,
        )
    notes = (*profile.notes, *(note[:1000] for note in lacking(variants, dtypes)))
    return profile.model_copy(update={"notes": notes})


def require_device(device: str | None) -> None:
    """Refuse a torch device that this machine lacks.

    Raises:
        TrilemmaError: naming those there are.
    """
    if device is None:
        return
    known = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    try:
        kind = torch.device(device).type
        if kind not in ("cpu", "cuda") or (kind == "cuda" and device not in ("cuda", *known)):
            raise RuntimeError
        torch.empty(1, device=device)
    except RuntimeError as error:
        raise TrilemmaError(f"there is no device {device!r} here; known: {', '.join(known)}") from error


def measure(
    variants: Sequence[Variant],
    grid: EfficiencyGrid,
    *,
    training: bool = False,
    energy: bool = False,
    device: str | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> Profile:
    """Profile models that are at hand; arguments and errors as for :func:`run`."""
    subjects = [variant.subject for variant in variants]
    session = Session(subjects, grid, device=device, clock=clock)
    lab = _Lab(session)
    stages = [lab.generation, lab.classification]
    stages += [lab.training] if training else []
    stages += [partial(lab.energy, training)] if energy else []
    stages += [lab.peaks]
    for subject in subjects:
        session.describe(subject)
    found = lab.find_roofline()
    for index, stage in enumerate(stages):
        session.report_to(progress, index, len(stages))
        stage()
        progress(index + 1, len(stages), "measurements")
    profile = Profile(
        device=session.device,
        hardware=hardware(session.device),
        versions=versions(),
        grid=grid,
        roofline=found.roofline,
        notes=tuple(note[:1000] for note in (found.note, *lab.notes) if note),
        models=tuple(lab.model_profile(variant) for variant in variants),
    )
    session.release()
    return profile


class _Lab:
    """Fills in the values of all models, one kind of measurement after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._values: Values = {}
        self._generators: dict[str, ModelDescription] = {}
        self._roofline: roofline.Roofline
        self.notes: list[str] = []

    def find_roofline(self) -> roofline.Found:
        """The machine's rates in the precisions that are needed."""
        needed = [
            work.multiplied(loaded.model.config, loaded.subject.precision)
            for loaded in self._session.classifiers()
        ]
        found = roofline.find(self._session.device, needed)
        self._roofline = found.roofline
        return found

    def _put(self, place: Place, values: Mapping[str, Value]) -> None:
        self._values.setdefault(place, {}).update(values)

    def generation(self) -> None:
        """Prefill and decoding of the causal models."""
        session = self._session
        prepare = partial(generation.prepared, session)
        extra = max(session.grid.decode - 1, 0)  # the last token is chosen, but not fed back
        models = session.language_models() if any(map(self._causal, session.subjects)) else []
        for loaded, point, samples in session.sweep(models, session.points(), prepare, extra_positions=extra):
            self._generators[loaded.subject.name] = loaded.description
            self._put(Place(loaded.subject.name, point), self._generated(loaded, point, samples))

    def _generated(self, loaded: Loaded, point: Point, samples: Outcome) -> dict[str, Value]:
        tokens = self._session.grid.decode
        of_prefill = self._cost(loaded, point, logits=1)
        of_decode: work.Cost | str = NO_DECODING
        if tokens:
            of_decode = self._decode_cost(loaded, point, tokens)
        if isinstance(samples, Unmeasured):
            return {
                **absent({**GENERATED, **BATCH}, samples.reason),
                **phase_values("prefill", of_prefill, samples),
                **phase_values("decode", of_decode, samples),
            }
        first = Timed.of([sample["prefill"] for sample in samples])
        whole = Timed.of([sum(sample.values()) for sample in samples])
        values = {"ttft_ms": first.milliseconds()}
        decoding: Timed | Unmeasured = Unmeasured(NO_DECODING)
        if tokens:
            decoding = Timed.of([sample["decode"] for sample in samples])
            further = Timed.of([sample["decode"] / (tokens - 1) for sample in samples])
            values["tpot_ms"] = further.milliseconds()
            values["decode_tokens_per_s"] = further.per_second(point.batch, "tokens/s")
        else:
            values |= absent({name: GENERATED[name] for name in list(GENERATED)[1:]}, NO_DECODING)
        values["batch_latency_ms"] = whole.milliseconds()
        done = point.tokens + point.batch * tokens
        values["throughput_tokens_per_s"] = whole.per_second(done, "tokens/s")
        return {
            **values,
            **phase_values("prefill", of_prefill, first),
            **phase_values("decode", of_decode, decoding),
        }

    def classification(self) -> None:
        """Forward passes of the models that do not generate."""
        session = self._session
        if all(map(self._causal, session.subjects)):
            return
        prepare = partial(latency.prepared, session)
        models = [loaded for loaded in session.classifiers() if not self._causal(loaded.subject)]
        for loaded, point, samples in session.sweep(models, session.points(), prepare):
            values = absent(GENERATED, NOT_GENERATIVE)
            cost = self._cost(loaded, point, logits=0)
            timed: Timed | Unmeasured = Unmeasured("")
            if isinstance(samples, Unmeasured):
                values |= absent(BATCH, samples.reason)
                timed = samples
            else:
                timed = Timed.of([sample["forward"] for sample in samples])
                values["batch_latency_ms"] = timed.milliseconds()
                values["throughput_tokens_per_s"] = timed.per_second(point.tokens, "tokens/s")
            values |= phase_values("prefill", cost, timed)
            values |= absent(COSTS["decode"], NOT_GENERATIVE)
            self._put(Place(loaded.subject.name, point), values)

    def training(self) -> None:
        """Training steps by each adaptation."""
        session = self._session
        for method in dict.fromkeys(one.method for each in session.subjects for one in each.adaptations):
            models = [one for one in session.trainable() if one.subject.adaptation(method)]
            trained = [one for one in models if one.subject.trains]
            for loaded in models:
                for point in session.training_points() if loaded not in trained else []:
                    values = absent({**TRAINING, **TRAINING_MEMORY}, loaded.subject.untrained)
                    self._put(Place(loaded.subject.name, point, method), values)
            steps = Steps(session, method)
            for loaded, point, samples in session.sweep(trained, session.training_points(), steps.prepared):
                self._put(Place(loaded.subject.name, point, method), training_values(point, samples))
            steps.finish()

    def energy(self, training: bool) -> None:
        """Joules of every place that was timed, and the idle power; or why there are none."""
        causal = {subject.name: self._causal(subject) for subject in self._session.subjects}
        kinds = ["generation"] if any(causal.values()) else []
        kinds += ["classification"] if not all(causal.values()) else []
        kinds += ["training"] if training else []
        records = list(metering.measure(self._session, kinds))
        self.notes += reasons(records)
        if any(causal.values()) and not self._session.grid.decode:
            self.notes.append("energy of causal models is that of generation; give tokens to decode")
        for record in records:
            if record.value is None and of_model(record):
                continue  # told in the notes
            if causal[record.model] and record.metric.removeprefix("gross_") == CLASSIFIED:
                continue  # a profile of a causal model is about generation
            point = None if of_model(record) else Point(record.batch or 0, record.length or 0)
            for place in self._values:
                here = point is None or (place.point, place.method) == (point, record.adaptation)
                if place.model == record.model and here:
                    self._put(place, {record.metric: value_of(record)})

    def peaks(self) -> None:
        """Peak memory at every place, each in a fresh process."""
        session = self._session
        places: list[tuple[Place, Work]] = []
        for place in self._values:
            subject = next(one for one in session.subjects if one.name == place.model)
            described = session.describe(subject)
            decode = session.grid.decode if described.causal and not place.method else None
            reason = beyond_positions(described, place.point, max((decode or 0) - 1, 0))
            if reason is not None:
                self._put(place, absent(TRAINING_MEMORY if place.method else MEMORY, reason))
            elif not place.method or subject.trains:
                adaptation = subject.adaptation(place.method) if place.method else None
                places.append((place, Work(subject, place.point, adaptation, decode)))
        session.release()
        measured = in_fresh_processes(session, [one for _, one in places])
        for index, ((place, asked), peak) in enumerate(zip(places, measured, strict=True)):
            self._put(place, memory_values(asked, peak))
            session.advance(index + 1, len(places))

    def model_profile(self, variant: Variant) -> ModelProfile:
        """All that was found of one model."""
        subject = variant.subject
        described = self._generators.get(subject.name) or self._session.describe(subject)
        decode = self._session.grid.decode if described.causal else 0
        return ModelProfile(
            name=subject.name,
            source=variant.source,
            arch=described.arch,
            dtype=subject.precision,
            attention=subject.attention,
            compiled=subject.compiled,
            kernel=described.kernel,
            causal=described.causal,
            parameters=described.parameters,
            max_length=described.max_length,
            points=tuple(
                PointProfile(
                    phase="training" if place.method else "inference",
                    batch=place.point.batch,
                    length=place.point.length,
                    decode=0 if place.method else decode,
                    adaptation=place.method,
                    values={**values, **self._estimates(place, values, described.causal)},
                )
                for place, values in self._values.items()
                if place.model == subject.name
            ),
        )

    def _estimates(self, place: Place, values: Mapping[str, Value], causal: bool) -> dict[str, Value]:
        watts = self._session.grid.watts
        generates = causal and not place.method
        return {} if watts is None else dict(estimated(values, place.point, watts, generates=generates))

    def _causal(self, subject: ProfiledModel) -> bool:
        return self._session.describe(subject).causal

    def _cost(self, loaded: Loaded, point: Point, *, logits: int) -> work.Cost | str:
        """The work of a forward pass; where its family is not known, its FLOPs as torch counts them."""
        config, precision = loaded.model.config, loaded.subject.precision
        reason = beyond_positions(loaded.description, point)
        if reason is not None:
            return reason
        try:
            return work.prefill(config, precision, self._roofline, point, logits=logits)
        except ModelError as error:
            reason = str(error)
        if loaded.subject.compiled or precision == "int8":
            return reason
        try:
            with memory_ceiling():
                flops = count_flops(loaded.model, self._session.inputs(loaded, point))
        except OutOfMemoryError:
            return f"{reason}; counting them ran out of memory"
        except Exception as failed:  # whatever a model of unknown origin may raise
            return f"{reason}; counting them: {failure(failed)}"
        return work.Cost(float(flops), None, None, reason)

    def _decode_cost(self, loaded: Loaded, point: Point, tokens: int) -> work.Cost | str:
        reason = beyond_positions(loaded.description, point, tokens - 1)
        if reason is not None:
            return reason
        try:
            return work.decode(loaded.model.config, loaded.subject.precision, self._roofline, point, tokens)
        except ModelError as error:
            return str(error)
