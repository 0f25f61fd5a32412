"""The catalogue of machines, and machines from a file."""

from pathlib import Path

import pytest

from trilemma.errors import DeployError
from trilemma.hardware.catalogue import catalogue, find_machine, machines_in
from trilemma.hardware.machine import Machine

HERE = Machine(name="here", kind="cpu", flops={"float32": 1e11}, bandwidth=3e10, memory=16e9)


def test_the_catalogue_is_whole_and_names_its_sources() -> None:
    for machine in catalogue().values():
        assert machine.sources and machine.watts and machine.price is None
        assert all(machine.rate(precision) > 0 for precision in machine.flops)
        assert machine.multiplies("packed") and machine.rate("packed") == machine.flops["int8"]
    with pytest.raises(DeployError, match="t4 has no rate for products in bfloat16; it has float32, float16"):
        catalogue()["t4"].rate("bfloat16")
    with pytest.raises(DeployError, match="did you mean h100-sxm"):
        find_machine("h100-smx")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "does not hold a list of machines"),
        ("- 3", "entry 1 is not a machine"),
        ("- {name: a, kind: cpu, flops: {float32: 1e9}, bandwidth: 1e9, memory: 1e9, ram: 3}", "ram: is not"),
        ("- {name: a, kind: cpu, flops: {float32: 1e9}, bandwidth: -1, memory: 1e9}", "bandwidth"),
        ("- {name: a, kind: cpu, flops: {float32: .inf}, bandwidth: 1e9, memory: 1e9}", "finite"),
        ("- {name: a, kind: cpu, flops: {float32: -1}, bandwidth: 1e9, memory: 1e9}", "positive"),
        ("- {name: a, kind: cpu, flops: {}, bandwidth: 1e9, memory: 1e9}", "flops: give the rate"),
        ("- {name: a, kind: cpu, bandwidth: 1e9, memory: 1e9}", "flops"),
        ("- {name: a, kind: tpu, flops: {float32: 1e9}, bandwidth: 1e9, memory: 1e9}", "kind"),
        ("- {name: a, like: nothing}", "catalogue lacks"),
        ("- {name: a, like: [t4]}", "catalogue lacks"),
        ("- {name: a, like: t4}\n- {name: a, like: l4}", "two machines"),
        ("[" * 5000, "not valid YAML|nested too deeply"),
        ("- {name: a, like: t4, launch: .inf}", "launch"),
        ("- {name: a, like: t4, price: .nan}", "price"),
        ("- {name: 2020-99-99, bandwidth: 1e9, memory: 1e9}", "kind"),
        ("- {name: one, like: l4, prise: 2}", r"prise: is not a field .*; did you mean price\? fields: like"),
    ],
)
def test_a_bad_file_of_machines_gets_one_sentence(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "machines.yaml").write_text(text)
    with pytest.raises(DeployError, match=match) as refused:
        machines_in(str(tmp_path / "machines.yaml"))
    assert "\n" not in str(refused.value)


def test_machines_of_a_file_change_the_catalogues(tmp_path: Path) -> None:
    (tmp_path / "machines.yaml").write_text("- {name: rented, like: l4, price: 0.8}\n")
    [machine] = machines_in(str(tmp_path / "machines.yaml"))
    assert machine == catalogue()["l4"].model_copy(update={"name": "rented", "price": 0.8})


def test_this_machine_may_be_given_a_price(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("- {name: priced, like: here, price: 2}\n- {name: fast, like: here, bandwidth: 9.0e12}\n")
    priced, fast = machines_in(str(file), lambda: HERE)
    assert (priced.price, priced.bandwidth) == (2, HERE.bandwidth)
    assert find_machine(f"{file}:fast", lambda: HERE) == fast
    with pytest.raises(DeployError, match=r"lists 2 machines; name the one you mean: .*mine.yaml:priced"):
        find_machine(str(file), lambda: HERE)
    with pytest.raises(DeployError, match="has no machine 'other'; it has priced, fast"):
        find_machine(f"{file}:other", lambda: HERE)
    with pytest.raises(DeployError, match="the catalogue lacks"):
        machines_in(str(file))


def test_a_named_machine_is_read_alone(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("- {name: mine, like: l4}\n- {name: bad, zzz: 3}\n")
    (mine,) = machines_in(f"{tmp_path / 'm.yaml'}:mine")
    assert mine.name == "mine"
