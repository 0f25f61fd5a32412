"""Peak memory of a process, and allocations that do not fit."""

import json
import subprocess
import sys
from typing import Any

import pytest

MIB = 2**20

linux = pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is read from Linux's /proc")


def in_a_process(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@linux
def test_peak_is_that_of_the_work_and_not_of_what_came_before() -> None:
    before, large, small = in_a_process(
        """if True:
        import json, torch
        from trilemma.hardware.peak import peak_bytes, reset_peak, resident_bytes
        def work(mib):
            if not reset_peak():
                raise SystemExit("this kernel does not reset the high-water mark")
            tensor = torch.ones(mib * 2**18)
            del tensor
            return peak_bytes()
        work(1)
        before = resident_bytes()
        print(json.dumps([before, work(200), work(50)]))"""
    )
    assert large - before == pytest.approx(200 * MIB, abs=4 * MIB)
    assert small - before == pytest.approx(50 * MIB, abs=4 * MIB)


@linux
def test_an_allocation_beyond_the_ceiling_fails_instead_of_killing() -> None:
    outcome = in_a_process(
        """if True:
        import json, torch
        from trilemma.hardware import limits
        outcome = []
        try:
            with limits.memory_ceiling(lambda: 200 * 2**20):
                torch.empty(2**30)
        except limits.OutOfMemoryError:
            outcome.append("out of memory")
        outcome.append(torch.ones(2**26).numel())  # the ceiling is gone
        print(json.dumps(outcome))"""
    )
    assert outcome == ["out of memory", 2**26]
