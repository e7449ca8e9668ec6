# make demo: environment, install, one edit of the bundled scene.   make test: environment, all CPU tests but
# the slow ones (clusters that lose nodes, orphans, tokens: minutes each); make test-all: those too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROMPT ?= What if it was painted by Van Gogh?

.PHONY: demo test test-all install clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@echo "installing about 2.4 GB into $(VENV), a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

demo: install
	$(BIN)/i4d edit --scene demo --prompt "$(PROMPT)" --out runs/demo

test: install
	$(BIN)/python -m pytest -m "not slow"

test-all: install
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) build *.egg-info
