# One command per intent. Each one makes .venv from requirements.lock by itself when that is needed.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

unexport PYTHONDONTWRITEBYTECODE # thousands of tests start a process of their own: each would compile every module again

.PHONY: setup demo test clients prove mutants lint types bench runtime wasi

setup: $(READY)

demo: $(READY)
	$(VENV)/bin/python -m demo.play

test: $(READY)
	$(VENV)/bin/pytest -n 2 --dist worksteal -m "not slow and not prove"

prove: $(READY)
	$(VENV)/bin/pytest -n 0 -s -m prove

mutants: $(READY) # small faults in the code, each of which a test must notice: FILES="src/virke/core/commit.py" LIMIT=20 QUICK=1
	$(VENV)/bin/python -m tests.mutants $(FILES) $(if $(LIMIT),--limit $(LIMIT)) $(if $(SEED),--seed $(SEED)) $(if $(QUICK),--quick)

clients: $(READY) # other people's, from the registries, beside a real sqld
	$(VENV)/bin/python -m tests.clients.install
	$(VENV)/bin/pytest -n 2 -m clients tests/clients

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(READY)
	$(VENV)/bin/mypy

runtime: # packs js/ into what `virke init` gives to new projects; needs Node and a registry
	js/pack.sh

wasi: $(READY) # apsw for WebAssembly, from pinned sources, into the wheel that is part of the package; needs cargo, mvn and the indexes
	$(VENV)/bin/python -m wasi.build

bench: $(READY)
	$(VENV)/bin/python -m bench

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
	  "Virke needs Python 3.11 or newer, '$(PYTHON)' is not one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@
