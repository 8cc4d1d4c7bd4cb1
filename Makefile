# make demo   install, curate the shipped sample, show what came out
# make test   install what the tests need and run them
# make check  lint, formatting, types

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check format clean

demo: $(VENV)/core.stamp
	$(BIN)/forumprefs curate --input stackexchange=samples --input reddit=samples/reddit \
		--input discourse=samples/discourse --input lemmy=samples/lemmy \
		--input threads=samples/threads --output out/demo --overwrite
	@echo
	$(BIN)/forumprefs inspect out/demo --limit 1
	@echo
	@echo "Where to look: out/demo/README.md (dataset card), out/demo/report.json (figures),"
	@echo "out/demo/data (pairs), out/demo/duplicates and out/demo/rejected (what was left out, why)."
	@echo "More pairs: $(BIN)/forumprefs inspect out/demo"

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "forumprefs needs Python 3.11 to 3.13; name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.stamp: $(BIN)/python setup.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/test.stamp: $(BIN)/python setup.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/core.stamp

$(VENV)/dev.stamp: $(BIN)/python setup.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/core.stamp $(VENV)/test.stamp
