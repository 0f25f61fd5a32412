# `make demo` shows a first verdict and runs the demo study; `make test` is the tests that take seconds, always
# the same; `make test-all` adds the slow ones and draws other random examples each time. All install first.
PYTHON ?= python3
BIN := .venv/bin
RUN := PYTHONWARNINGS=ignore::ResourceWarning

.PHONY: install demo test test-all lint types pytest slow docs bench bench-gpu clean

# An editable installation maps the modules that it found: it is made again when the list of files changes.
INSTALLED := .venv/installed-$(shell find src/trilemma -name '*.py' | LC_ALL=C sort | cksum | cut -d ' ' -f 1)

# The first installation shows what it does: bars on a terminal, elsewhere a line per package.
SHOWN := $(if $(wildcard .venv/installed-*),--quiet,$(shell test -t 2 || echo --progress-bar off))

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/trilemma/_native/*.cpp src/trilemma/_native/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trilemma needs Python 3.11 or later; set PYTHON=python3.x")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv: about 3 GB and a few minutes; first PyTorch, then everything else."
	$(BIN)/python -m pip install $(SHOWN) --disable-pip-version-check --constraint constraints.txt torch
	@echo "PyTorch is there; now the other packages, and the compiled kernels."
	$(BIN)/python -m pip install $(SHOWN) --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@echo "Installed; source .venv/bin/activate"
	@rm -f .venv/installed-* && touch $@

demo: install
	@echo "A first look, within a minute: one task, one seed."
	$(BIN)/trilemma run studies/first-look.yaml
	@echo "Now the whole demo, in minutes: two tasks, two seeds, attacks. Ctrl-C stops it; make demo resumes it."
	$(BIN)/trilemma run studies/demo.yaml

test: install lint types pytest

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -q

pytest:
	$(PYTEST) -m "not slow"

# What takes more than ten seconds, always the same.
slow: install
	$(PYTEST) -m slow

# `make test-all TRILEMMA_SEED=N` repeats what it draws with the seed N.
ifndef TRILEMMA_SEED
TRILEMMA_SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
endif

test-all: install lint types
	@echo "seed: TRILEMMA_SEED=$(TRILEMMA_SEED)"
	TRILEMMA_SEED=$(TRILEMMA_SEED) HYPOTHESIS_PROFILE=explore $(PYTEST) --hypothesis-seed=$(TRILEMMA_SEED)

# The documentation as a site in build/site; a link that leads nowhere fails.
docs: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site: build/site/index.html"

# Fails where the whole interval of a ratio is more than 15% worse than benchmarks/recorded.json says.
bench: install
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/models.py

bench-gpu: install
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf .venv build dist runs src/*.egg-info
