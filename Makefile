# make demo: environment, install, one edit of the bundled scene.   make lint: formatter, linter, type checker.
# make test: all CPU tests but the slow ones (clusters that lose nodes, orphans, tokens: minutes each); make test-all:
# those too.   make wheel: build the wheel, install it elsewhere, edit from there.   make docs: pages made from code and JSON.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROMPT ?= What if it was painted by Van Gogh?

.PHONY: demo docs lint test test-all wheel install install-demo clean

# what a user needs; tests and their servers come with `install`
install-demo: $(VENV)/.installed-demo
install: $(VENV)/.installed-dev

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	@echo "installing about 2.2 GB into $(VENV), a few minutes"
	$(BIN)/python -m pip install --quiet -e ".[viewer]"
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing about 2.4 GB into $(VENV), a few minutes"
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@ $(VENV)/.installed-demo

demo: install-demo
	$(BIN)/i4d edit --scene demo --prompt "$(PROMPT)" --out runs/demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

docs: install-demo
	$(BIN)/python scripts/benchmark_page.py
	$(BIN)/python scripts/configuration_page.py
	$(BIN)/python scripts/metrics_page.py
	$(BIN)/python scripts/extending_page.py

test: install
	$(BIN)/python -m pytest -m "not slow"

test-all: install
	$(BIN)/python -m pytest

wheel: install
	PYTHON=$(PYTHON) BUILD=$(abspath $(BIN))/python scripts/check_wheel.sh

clean:
	rm -rf $(VENV) build dist *.egg-info
