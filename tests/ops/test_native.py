"""The compiled kernels as a library: choice of path, threads, processes, sanitizers, absence."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from trilemma import _native
from trilemma.errors import TrilemmaError
from trilemma.ops import gla, linear_scan, ternary
from trilemma.ops.ternary import packed as packed_ternary

compiled = pytest.mark.skipif(not _native.paths(), reason="the compiled kernels were not built here")


def scan_inputs(seed=0, time=300, channels=520):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, time, channels, generator=generator), torch.rand(
        2, time, channels, generator=generator
    )


def test_names_of_paths():
    for name in (*_native.paths(), _native.TORCH):
        with _native.using(name):
            expected = "torch" if name == "torch" else f"compiled-{name}"
            for operator in (gla, linear_scan):
                assert operator.kernel("cpu").startswith(expected)
            assert operator.kernel("cuda").startswith("torch")
            form = "unpacked to int8" if name == "torch" else "packed 2-bit"
            assert packed_ternary.kernel("cpu").endswith(form)
            assert ternary.kernel("cpu").endswith("fake-quantised")


def test_an_unknown_path_is_refused_by_name():
    before = _native.path()
    with pytest.raises(TrilemmaError, match=r"no compiled kernels 'mmx' here .*torch"):
        _native.use("mmx")
    assert _native.path() == before


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_the_environment_chooses():
    code = "from trilemma import _native; print(_native.path())"
    for name in {*_native.paths()[-1:], "torch"}:  # neither is the default of a usual machine
        assert run(code, TRILEMMA_KERNELS=name).stdout.strip() == name
    refused = run(code, TRILEMMA_KERNELS="none")
    assert refused.returncode != 0 and "TRILEMMA_KERNELS" in refused.stderr


def test_without_the_library_torch_computes():
    code = """
import trilemma._native as n
n.__path__ = []
assert n.paths() == [] and n.path() == "torch"
import torch
from tests.stand_ins.recurrences import linear_scan_recurrent
from trilemma.ops.linear_scan import linear_scan
x, f = torch.randn(1, 9, 4), torch.rand(1, 9, 4)
torch.testing.assert_close(linear_scan(x, f)[0], linear_scan_recurrent(x, f)[0])
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


@compiled
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_share_the_work_without_a_trace(threads):
    x, f = scan_inputs()
    expected = linear_scan.linear_scan(x, f)[0]
    before = torch.get_num_threads()
    try:
        for _ in range(20):  # torch and the kernels in turn
            torch.set_num_threads(threads)
            product = x[0].T @ f[0]
            assert torch.equal(linear_scan.linear_scan(x, f)[0], expected)
            torch.set_num_threads(1)
            torch.testing.assert_close(product, x[0].T @ f[0], rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(before)


@compiled
def test_calls_from_several_threads_at_once():
    cases = [scan_inputs(seed) for seed in range(4)]
    expected = [linear_scan.linear_scan(*case)[0] for case in cases]
    wrong = []

    def work(index):
        for _ in range(25):
            if not torch.equal(linear_scan.linear_scan(*cases[index])[0], expected[index]):
                wrong.append(index)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_workers_of_its_own():
    code = """
import os, torch
torch.set_num_threads(2)
from trilemma.ops.linear_scan import linear_scan
x, f = torch.randn(2, 300, 520), torch.rand(2, 300, 520)
expected = linear_scan(x, f)[0]
child = os.fork()
if child == 0:
    torch.set_num_threads(2)
    os._exit(0 if torch.equal(linear_scan(x, f)[0], expected) else 1)
status = os.waitpid(child, 0)[1]
assert torch.equal(linear_scan(x, f)[0], expected)
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
    assert run(code).returncode == 0


@compiled
def test_strides_and_offsets():
    """Transposed, sliced and unaligned inputs give what contiguous ones give."""
    x, f = scan_inputs(time=31, channels=70)
    expected = linear_scan.linear_scan(x, f)[0]
    turned = x.transpose(1, 2).contiguous().transpose(1, 2)
    wide = torch.cat([f, f], dim=-1)[..., :70]
    assert not turned.is_contiguous() and not wide.is_contiguous()
    assert torch.equal(linear_scan.linear_scan(turned, wide)[0], expected)
    shifted = torch.cat([torch.zeros(1), x.flatten()])[1:].view_as(x)
    assert shifted.data_ptr() % 64 == 4
    assert torch.equal(linear_scan.linear_scan(shifted, f)[0], expected)


@compiled
def test_a_library_of_other_sources_is_refused(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("no g++ to build a foreign library with")
    source = tmp_path / "foreign.cpp"
    source.write_text('extern "C" int trilemma_version() { return -1; }')
    subprocess.run(["g++", "-shared", "-fPIC", source, "-o", tmp_path / "kernels.so"], check=True)
    code = f"import trilemma._native as n; n.__path__ = [{str(tmp_path)!r}]; n.path()"
    done = run(code)
    assert "install trilemma again" in done.stderr


@pytest.mark.slow
def test_kernels_under_sanitizers(tmp_path):
    """Sizes 0, 1 and odd on exact allocations, against plain loops, with address and overflow checks."""
    if shutil.which("cmake") is None or shutil.which("g++") is None:
        pytest.skip("needs cmake and g++")
    root = Path(__file__).parent.parent.parent
    configure = ["cmake", "-S", root, "-B", tmp_path, "-DTRILEMMA_SANITIZE=ON"]
    for command in (configure, ["cmake", "--build", tmp_path, "-j2"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if "cannot find -lasan" in done.stderr:
            pytest.skip("the sanitizers' libraries are not installed")
        assert done.returncode == 0, done.stderr
    done = subprocess.run([tmp_path / "sanitized"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name}: right" for name in _native.paths() or ["portable"]]
