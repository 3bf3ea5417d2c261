# Each command sets up what it needs in .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: leaderboard test docs site setup clean

leaderboard: $(VENV)/.installed
	$(BIN)/purebench run fashion-quick --store .purebench/records.sqlite \
		--page .purebench/fashion-quick.html --results .purebench/fashion-quick

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

site: $(VENV)/.installed-dev
	$(BIN)/purebench site build --out build/pages --docs docs/ --changes CHANGELOG.md
	PUREBENCH_SITE=../index.html $(BIN)/mkdocs build --strict --quiet --site-dir build/pages/docs
	@echo "build/pages/index.html"

setup: $(VENV)/.installed-dev

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "purebench needs Python 3.11 or newer, but got " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing purebench into $(VENV) (torch and its libraries: several GB, a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing purebench and its tests' needs into $(VENV) (several GB, a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf .purebench build dist *.egg-info
