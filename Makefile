# Two commands: `make demo` and `make test`; both install first.
PYTHON ?= python3
BIN := .venv/bin
RUN := PYTHONWARNINGS=ignore::ResourceWarning

.PHONY: install demo test lint types pytest bench bench-gpu clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/trilemma/_native/*.cpp src/trilemma/_native/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trilemma needs Python 3.11 or later; set PYTHON=python3.x")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/trilemma run studies/demo.yaml

test: install lint types pytest

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

pytest:
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -q

# Fails where the whole interval of a ratio is more than 15% worse than benchmarks/recorded.json says.
bench: install
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/models.py

bench-gpu: install
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf .venv build dist runs src/*.egg-info
