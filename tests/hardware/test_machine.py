"""What the machine is and has."""

import socket
from pathlib import Path
from typing import Any

import pytest

from trilemma.errors import TrilemmaError
from trilemma.hardware import machine
from trilemma.hardware.doctor import doctor


def test_hardware_names_processor_threads_and_clock() -> None:
    line = machine.hardware()
    assert machine.cpu_model() in line
    assert " thread" in line and " cores" in line
    assert "MHz" in line or "clock unknown" in line


def test_a_waiting_policy_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert "OMP_WAIT_POLICY=passive" in machine.hardware()


def test_versions_name_what_values_depend_on() -> None:
    assert all(name in machine.versions() for name in ("trilemma", "torch", "transformers", "Python"))


@pytest.mark.parametrize("device", ["cuda:7", "gpu", "meta"])
def test_a_device_that_there_is_not_is_refused(device: str) -> None:
    with pytest.raises(TrilemmaError, match=f"there is no device '{device}' here; known: cpu"):
        machine.require_device(device)
    machine.require_device("cpu")
    machine.require_device(None)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without a network; the folder of their state."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a network is asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_doctor_finds_something_on_every_topic_and_asks_no_network(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    findings = dict(doctor())
    for topic in ("versions", "processor", "memory available", "energy of the processor"):
        assert findings[topic]
    assert findings["hub"].startswith("http://127.0.0.1:9 ") and "clocks" not in findings
    kernels = {topic for topic in findings if topic.startswith("kernel of")}
    assert {"kernel of gla on cpu", "kernel of linear_scan on cpu", "kernel of ternary on cpu"} <= kernels
    assert any(topic.startswith("GPU") for topic in findings)


def test_the_hub_is_switched_off(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert dict(doctor())["hub"] == "switched off by HF_HUB_OFFLINE"


def test_doctor_reports_clocks_that_were_left_changed_and_leaves_them(alone: Path) -> None:
    from trilemma.clocks.control import journal_folder

    journal_folder().mkdir(parents=True)
    journal = journal_folder() / "cpufreq.json"
    journal.write_text("{}")
    finding = dict(doctor())["clocks"]
    assert str(journal) in finding and "`trilemma clocks --restore`" in finding
    assert journal.read_text() == "{}" and [*journal_folder().iterdir()] == [journal]
