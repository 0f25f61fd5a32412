"""What several tests share."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from trilemma import _native

# Tests run beside each other on small machines: how long one example takes says nothing.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

TINY_STUDY = """\
name: demo
data: embedded
models: [transformer-pp:nano, gla:nano, matmul-free:nano]
tasks: [sst2, qnli]
adapt: {epochs: 1, rows: 300, learning_rate: 3.0e-3}
seeds: [0, 1]
robustness: {sets: [advglue]}
efficiency:
  {batch: [1], length: [32, 128], decode: 4, rounds: 6, seconds: 0.05, training: {batch: [4], length: [16]}}
"""
"""The demo study cut down to seconds."""


@pytest.fixture(scope="module", params=[*_native.paths(), _native.TORCH])
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every path of the operators that this machine can run, in turn."""
    with _native.using(request.param):
        yield request.param


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `studies/demo.yaml` and its finished run `runs/demo`, made once for all processes."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder = shared / "finished-demo"
    with FileLock(shared / "finished-demo.lock"):
        if not (folder / "runs" / "demo" / "report.html").exists():
            (folder / "studies").mkdir(parents=True, exist_ok=True)
            (folder / "studies" / "demo.yaml").write_text(TINY_STUDY, "utf-8")
            command = [sys.executable, "-m", "trilemma", "run", "studies/demo.yaml"]
            # What is known of this machine is neither read nor changed.
            environment = os.environ | {"XDG_CACHE_HOME": str(shared / "cache-of-the-demo")}
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=550
            )
            assert done.returncode == 0, done.stdout + done.stderr
    return folder
