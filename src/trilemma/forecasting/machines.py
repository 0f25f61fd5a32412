"""Which forecaster a machine's name stands for: the catalogue's, this machine's, or one of a file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from trilemma.errors import DeployError
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration
from trilemma.forecasting.forecaster import Forecaster
from trilemma.hardware.catalogue import find_machine, is_file, machines_in
from trilemma.hardware.machine import HERE, Machine


def forecasters(machines: Sequence[str | Machine], here: Calibration | None = None) -> list[Forecaster]:
    """The forecaster of each machine.

    Args:
        machines: names of the catalogue; ``here`` for this machine; a calibration, ``FILE.json``; all
            machines of ``FILE.yaml``, or one of them, ``FILE.yaml:NAME``; or machines themselves.
        here: this machine's calibration; by default the one that ``trilemma calibrate`` kept.

    Raises:
        DeployError: for a name that stands for no machine, or two machines of one name.
    """
    found = [one for machine in machines for one in _forecasters(machine, here)]
    names = [one.machine.name for one in found]
    if not found:
        raise DeployError("name at least one machine, for example `here` or l4")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DeployError(f"two machines are called {twice!r}; name each once")
    return found


def _forecasters(machine: str | Machine, here: Calibration | None) -> list[Forecaster]:
    def known() -> Calibration:
        return here or calibration.here()

    if isinstance(machine, Machine):
        return [_like_here(machine, known)]
    if machine == HERE:
        return [calibration.forecaster(known())]
    if machine.endswith(".json"):
        read = calibration.read(Path(machine))
        elsewhere = read.machine.model_copy(update={"name": Path(machine).stem})
        return [calibration.forecaster(replace(read, machine=elsewhere))]
    if is_file(machine):
        return [_like_here(one, known) for one in machines_in(machine, lambda: known().machine)]
    return [Forecaster(find_machine(machine))]


def _like_here(machine: Machine, known: Callable[[], Calibration]) -> Forecaster:
    """With this machine's measurements, where the machine differs from this one in its costs alone."""
    try:
        measured = known()
    except DeployError:  # this machine is not calibrated, or not any more
        return Forecaster(machine)
    costs = machine.model_dump(include={"name", "price", "watts", "sources"})
    if measured.machine.model_copy(update=costs) != machine:
        return Forecaster(machine)
    return calibration.forecaster(replace(measured, machine=machine))
