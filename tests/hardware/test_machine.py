"""What the machine has."""

import subprocess
import sys

import pytest

from trilemma.hardware import machine


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


def test_doctor_finds_something_on_every_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    findings = dict(machine.doctor())
    for topic in ("versions", "processor", "memory available", "energy of the processor", "hub"):
        assert findings[topic]
    assert "does not answer" in findings["hub"] and "use local folders" in findings["hub"]
    kernels = {topic for topic in findings if topic.startswith("kernel of")}
    assert {"kernel of gla on cpu", "kernel of linear_scan on cpu", "kernel of ternary on cpu"} <= kernels
    assert any(topic.startswith("GPU") for topic in findings)


def test_the_hub_is_not_asked_when_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert dict(machine.doctor())["hub"] == "switched off by HF_HUB_OFFLINE"


def test_a_grid_and_the_registry_need_no_torch() -> None:
    code = "import sys, trilemma.profiling as p; p.EfficiencyGrid(); p.MEASUREMENTS.names()"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
