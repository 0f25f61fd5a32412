"""What the commands do, as functions that return their result; the package exports them by these names."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from trilemma.errors import DeployError, ModelError, TrilemmaError
from trilemma.operating_point import OperatingPoint
from trilemma.profile_result import Profile
from trilemma.progress import Progress, silent
from trilemma.sweep_result import ClockSweep
from trilemma.units import listed
from trilemma.yaml_file import read_yaml

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.clocks.queries import Tokenize
    from trilemma.decision.decision import Decision
    from trilemma.forecasting.calibration import Calibration
    from trilemma.forecasting.models import ForecastModel
    from trilemma.forecasting.plan import ParallelPlan
    from trilemma.hardware.machine import Machine
    from trilemma.profiling.grid import ProfileSettings
    from trilemma.profiling.models import ModelUnderTest
    from trilemma.result import Result
    from trilemma.study import Study
    from trilemma.training.pretraining import PretrainFacts


def run(
    study: "Study | str | Path",
    *,
    data: str | None = None,
    out: str | Path | None = None,
    store: str | Path | None = None,
    console: "Console | None" = None,
) -> "Result":
    """Run a study and return its result; the same call resumes one that was killed.

    The run folder gets the two tables and ``report.html``, every adapted checkpoint a model card.

    Args:
        study: a study or the path of a study file.
        data: ``embedded``, ``folder:PATH`` or ``hub``; instead of the study's.
        out: run folder; default ``runs/NAME``.
        store: folder of artifacts; default ``.store`` beside the run folder.
        console: where progress is shown; default standard error.

    Raises:
        TrilemmaError: with one sentence that names the remedy.

    Example:
        >>> result = tl.run("studies/demo.yaml")
        >>> result.verdict().text()
    """
    from trilemma.hardware.process import prepare

    prepare()

    from rich.console import Console

    from trilemma.report.model_card import write_card
    from trilemma.result import Result
    from trilemma.study import Study, load_study
    from trilemma.study.console import ConsoleListener
    from trilemma.study.runner import run_study
    from trilemma.study.store import locked

    if not isinstance(study, Study):
        study = load_study(study)
    if data:
        study = study.model_copy(update={"data": data})
    folder = Path(out) if out else Path("runs") / study.name
    with locked(folder), ConsoleListener(console or Console(stderr=True)) as listener:
        kept = Path(store) if store else folder.parent / ".store"
        checkpoints = run_study(study, folder, kept, listener)
        listener.preparing("writing the report")
        result = Result.load(folder)
        result.report(folder / "report.html")
        for checkpoint in checkpoints:
            write_card(**{**checkpoint, "folder": Path(checkpoint["folder"])}, records=result.records)
    return result


def decide(run: "Result | str | Path | None" = None, **asked: Any) -> "Decision":
    """The best deployment under bounds, and for every other one why it was rejected.

    Args:
        run: a result or a run folder; None for forecasts of ``models`` alone.
        **asked: as :func:`trilemma.decision.query.decide` takes them: ``models``, ``machines``, ``at``,
            ``batches``, ``precisions``, ``devices``, ``best``, ``slo``,
            and limits such as ``max_memory="8GB"``.

    Raises:
        TrilemmaError: for what does not apply, cannot be read, or was not measured.

    Example:
        >>> tl.decide("runs/demo", machines=["l4"], slo="latency=200ms", limits={"min_robust": 0.5}).text()
    """
    from trilemma.decision.query import decide as decided
    from trilemma.result import Result

    alone = {name: asked.pop(name) for name in list(asked) if name.startswith(("max_", "min_"))}
    limits = {**(asked.pop("limits", None) or {}), **alone}
    return decided(Result.load(run) if isinstance(run, str | Path) else run, limits=limits, **asked)


def pretrain(
    model: str,
    corpus: Sequence[str | Path],
    out: str | Path,
    *,
    tokenizer: Path | int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    **settings: Any,
) -> "PretrainFacts":
    """Pretrain a language model from scratch and write a model folder, which a study can name.

    Args:
        model: ``ARCH:SIZE``, for example ``gla:nano``.
        corpus: text, JSON Lines or Parquet files.
        out: the folder to write; it must not exist.
        tokenizer: folder of a tokenizer, or the vocabulary of one that is trained on the corpus.
        seed: of weights and order.
        progress: is given the tokens that were trained on.
        **settings: fields of :class:`trilemma.training.pretrain_settings.PretrainSettings`, for example
            ``tokens="10M"``.

    Raises:
        TrilemmaError: for a setting, a corpus or a folder that cannot be used.

    Example:
        >>> tl.pretrain("gla:nano", ["books.txt"], "my-gla", tokens="100k", length=64, batch=8)
    """
    from trilemma.architectures import DEFAULT_VOCABULARY
    from trilemma.training.pretrain_settings import read_settings as read
    from trilemma.training.pretraining import pretrain as trained

    chosen = read(**({"tokens": "10M"} | settings))
    tokenizer = DEFAULT_VOCABULARY if tokenizer is None else tokenizer
    return trained(model, listed(corpus), out, chosen, tokenizer=tokenizer, seed=seed, progress=progress)


def calibrate(out: str | Path | None = None, *, progress: Progress = silent) -> "Calibration":
    """Time small models on this machine, so that forecasts for it rest on measurements: a few minutes.

    Args:
        out: the JSON file to write; by default this machine's in the user's cache, which forecasts find.
        progress: is given the share of the work that is done.

    Raises:
        DeployError: where ``out`` does not end in ``.json``.
        StoreError: where it cannot be written.

    Example:
        >>> tl.calibrate("here.json").machine.bandwidth
    """
    from trilemma.files import require_suffix
    from trilemma.forecasting import calibration

    path = require_suffix(out or calibration.path_here(), ".json")
    found = calibration.calibrate(progress)
    calibration.write(found, path)
    return found


def profile(
    models: "str | Path | Sequence[str | Path] | ProfileSettings",
    *,
    progress: Progress = silent,
    **settings: Any,
) -> Profile:
    """Measure what models cost on this machine.

    Args:
        models: folders, hub ids or ``ARCH:SIZE``; a YAML file of settings; or settings themselves.
        progress: is given the finished measurements, in fractions.
        **settings: fields of :class:`trilemma.profiling.grid.ProfileSettings`, for example
            ``precisions=["float32", "packed"]`` and ``efficiency={"length": [32, 512], "energy": True}``;
            beside a file or settings, they replace those fields, of ``efficiency`` one by one.

    Raises:
        TrilemmaError: for settings that cannot be, or a device that there is not.
        ModelError: where a model cannot be loaded, or does not fit what is asked of it.
    """
    from trilemma.profiling import profile as measure
    from trilemma.profiling.models import lacking

    asked = asked_settings(models, settings)
    with _opened(asked) as found:
        records = measure(found, asked.efficiency, device=asked.device, progress=progress)
        notes = [
            f"{name} is not measured in {precision}: it has no ternary weights"
            for name, precision in lacking(found, asked.precisions)
        ]
    return Profile(records, notes)


def forecast(
    models: "Sequence[str | Path | ForecastModel]",
    machines: "Sequence[str | Machine]" = ("here",),
    points: Sequence[OperatingPoint] = (OperatingPoint(),),
    *,
    precisions: Sequence[str] = ("auto",),
    plans: "Sequence[ParallelPlan] | None" = None,
    calibration: "Calibration | None" = None,
    progress: Progress = silent,
) -> Profile:
    """Forecast costs of models on machines; arguments as :func:`trilemma.forecasting.forecasts.forecast`.

    Raises:
        ModelError: for a model that there is not, or whose family is not known.
        DeployError: for an unknown machine or precision, an operating point that is out of range, or where
            nothing of what is asked can be forecast.
    """
    from trilemma.forecasting.forecasts import forecast as records_of
    from trilemma.forecasting.plan import ParallelPlan

    plans = plans or (ParallelPlan(),)
    records = records_of(
        listed(models),
        listed(machines),
        listed(points),
        precisions=listed(precisions),
        plans=plans,
        calibration=calibration,
        progress=progress,
    )
    if not any(one.metric == "peak_memory_bytes" and one.value is not None for one in records):
        reasons = dict.fromkeys(one.reason for one in records if one.reason)
        raise DeployError("; ".join(reasons) or "nothing is asked; name a model and an operating point")
    return Profile(records)


def sweep_clocks(
    models: "str | Path | Sequence[str | Path] | ProfileSettings",
    frequencies: Sequence[int],
    *,
    allow: bool = False,
    watts: float | None = None,
    idle_watts: float = 0.0,
    progress: Progress = silent,
    **settings: Any,
) -> ClockSweep:
    """Measure, or estimate, the time and energy of each phase at several clock frequencies.

    Args:
        models: as for :func:`profile`.
        frequencies: in MHz.
        allow: whether the whole machine's clocks may be set; they are given back however it ends.
        watts: the device's power under load; then nothing sets a clock, and time and energy are estimates.
        idle_watts: its power when idle, beside ``watts``.
        progress: is given the finished measurements, in fractions.
        **settings: as for :func:`profile`.

    Raises:
        TrilemmaError: for settings that cannot be, or a device that there is not.
        ClockError: where the clocks may not or cannot be changed.
    """
    from trilemma.clocks import sweep
    from trilemma.clocks.model import Power
    from trilemma.clocks.settings import clocks_of
    from trilemma.hardware import roofline
    from trilemma.hardware.machine import clock_mhz, default_device, hardware, versions
    from trilemma.profiling import profile as measure

    asked = asked_settings(models, settings)
    frequencies = listed(frequencies)
    if not frequencies:
        raise TrilemmaError("name at least one frequency in MHz, for example --frequencies 1200,2400")
    if allow and watts is not None:
        raise TrilemmaError("watts give estimates and leave the clocks alone; leave out one of the two")
    power = None if watts is None else Power.usual(watts, idle_watts, max(frequencies))
    device = asked.device or default_device()
    grid = asked.efficiency.model_copy(update={"training": None, "energy": power is None, "watts": None})
    with _opened(asked) as found:
        facts = [hardware(device), versions()]

        def records(measurements: Sequence[str]) -> Any:
            return measure(found, grid, measurements=measurements, device=device, progress=progress)

        if power is None:
            places, remarks = sweep.measured(
                lambda: records(sweep.METERED), clocks_of(device), frequencies, grid.decode, allow=allow
            )
        else:
            on_cpu, now = device.startswith("cpu"), clock_mhz()
            facts.append(f"{watts:g} W under load, {idle_watts:g} W idle, as given")
            if on_cpu and now is not None and abs(now / max(frequencies) - 1) > sweep.OFF:
                facts.append(
                    f"the clock is at {now:.0f} MHz now, and what it takes now is taken for what it would at "
                    f"{max(frequencies)} MHz; give the present clock as the highest"
                )
            rates = roofline.find(device)
            facts += [rates.note] if rates.note else []
            timed, decode = records(sweep.TIMED), grid.decode
            places, remarks = sweep.estimated(
                timed, found, rates.machine, power, frequencies, decode, host_follows=on_cpu
            )
    return ClockSweep(places, [*facts, *remarks])


def tokenizers(models: Sequence[str | Path]) -> "dict[str, Tokenize]":
    """What counts a text's tokens, by name of the model, for folders and hub ids that have a tokenizer."""
    from trilemma.models.loading import load_tokenizer

    found: dict[str, Tokenize] = {}
    for model in map(str, models):
        try:
            tokenizer = load_tokenizer(Path(model))
        except ModelError:
            continue
        name = Path(model).resolve().name if Path(model).is_dir() else model
        found[name] = lambda text, own=tokenizer: list(own(text)["input_ids"])  # type: ignore[misc]
    return found


def watts_of(text: str) -> float:
    """A power as a number, or that of a machine in the catalogue.

    Raises:
        TrilemmaError: where it is neither.
    """
    from trilemma.hardware.catalogue import find_machine

    with suppress(ValueError):
        return float(text)
    try:
        machine = find_machine(text)
    except TrilemmaError as error:
        raise TrilemmaError(f"{text!r} is neither a number of watts nor a machine: {error}") from error
    if machine.watts is None:
        raise TrilemmaError(f"the catalogue has no watts of {text}; give a number")
    return machine.watts


def profile_settings(content: Mapping[str, Any], where: str = "") -> "ProfileSettings":
    """Checked settings of a profile.

    Args:
        content: fields of :class:`trilemma.profiling.grid.ProfileSettings`.
        where: the file that they are from; "" where they are options.

    Raises:
        TrilemmaError: naming the field, or the option.
    """
    from trilemma.profiling.grid import ProfileSettings

    try:
        return ProfileSettings.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        names = [str(part) for part in first["loc"] if isinstance(part, str)]
        option = {"precisions": "precision", "compiled": "compile"}.get(names[-1], names[-1]) if names else ""
        given = f"--{option.replace('_', '-')} {str(first['input'])[:100]}"
        place = f"{where}: {'.'.join(names)}" if where else given
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        raise TrilemmaError(f"{place}: {message}") from error


def read_settings(path: Path) -> "ProfileSettings":
    """Settings of a YAML file: models, precisions, and a study's block ``efficiency``.

    Raises:
        TrilemmaError: where it cannot be read, or names a field that there is not.
    """
    content, _ = read_yaml(path, "a file of settings")
    if not isinstance(content, dict):
        raise TrilemmaError(
            f"{path} does not hold settings; write `models: [gla:small]` and what else you ask for"
        )
    return profile_settings(content, str(path))


def is_settings_file(name: str) -> bool:
    """Whether a model's name is that of a file of settings."""
    return Path(name).suffix in (".yaml", ".yml")


def asked_settings(models: Any, settings: dict[str, Any]) -> "ProfileSettings":
    """Settings by a file, models or settings, with fields that replace theirs; of the grid one by one."""
    from trilemma.profiling.grid import ProfileSettings

    if isinstance(models, str | Path):
        models = read_settings(Path(models)) if is_settings_file(str(models)) else [models]
    if isinstance(models, ProfileSettings):
        given = models.model_dump(exclude_unset=True)
        if isinstance(grid := settings.get("efficiency"), Mapping):  # what it leaves out stays
            settings = settings | {"efficiency": given.get("efficiency", {}) | dict(grid)}
        return profile_settings(given | settings)
    return profile_settings({"models": list(map(str, models)), **settings})


def _opened(asked: "ProfileSettings") -> "AbstractContextManager[list[ModelUnderTest]]":
    """The models in the forms that are asked for; a device that there is not is refused first."""
    from trilemma.hardware.machine import require_device
    from trilemma.profiling.models import opened

    require_device(asked.device)
    return opened(asked.models, **asked.model_dump(exclude={"models", "device", "efficiency"}))
