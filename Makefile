# Needs python3 (3.11 to 3.13) and make; everything goes into .venv.
#   make demo    install, run the quickstart study, write its page
#   make test    all tests          make check   what reads the code without running it
#   make bench   the benchmarks     make clean   remove what can be made again
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
REPORT := quickstart-report

.DELETE_ON_ERROR:
.PHONY: setup setup-test demo test check bench clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	    "Python 3.11 to 3.13 is needed, %s is %d.%d: make PYTHON=python3.11" % (sys.executable, *v))'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

setup-test: $(VENV)/.installed-test

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	@touch $@

# `augury run` ends with the table; the path of the page is the one line after it.
demo: setup
	@$(BIN)/augury run quickstart
	@$(BIN)/augury report quickstart --format html --out $(REPORT) > /dev/null
	@printf 'page: %s\n' $(REPORT)/*.html

test: setup-test
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/python -m pytest -q tests/test_floors.py tests/test_versions.py

bench: setup
	@for script in $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)); do \
	    echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis $(REPORT)
	find orchestrator tasks search_spaces tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
