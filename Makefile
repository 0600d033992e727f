# Everything a developer or CI does. `make help` lists the targets; each sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first Python of the right version that really starts (a version manager's shim may not).
PYTHON ?= $(shell for name in python3.11 python3.12 python3; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$name && break; done)
UV := .uv/bin/uv
CONSTRAINTS := requirements/constraints.txt
DEV := .venv
DEMO := .venv-demo
AUDIT := .venv-audit
COMMA := ,
# Three workers for two cores, since tests of processes wait a lot. Each is given a file in turn, in the order of
# tests/conftest.py: files that take long come first.
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder --durations 15
# What is long and rarely red is left to `make test-full`; the last line of the tests says how much that is.
QUICK := -m "not long"
# More random examples, and no test left out because this machine lacks something: it fails, and says what to install.
EVERYTHING := HYPOTHESIS_PROFILE=full TALLYWRIGHT_TEST_EVERYTHING=1
# Every engine, Spark on a standalone cluster of real processes: it takes both cores. The matrix is its last word.
CONFORMANCE := TALLYWRIGHT_TEST_SPARK=standalone $(DEV)/bin/python -m pytest tests/conformance --durations 5
# Which engine scores in the demo. Each has an environment and a lake of its own: the lakes can be compared.
ENGINE ?= local
DEMO_READY := $(DEMO)/.ready$(if $(filter-out local,$(ENGINE)),-$(ENGINE))
DEMO_EXTRAS := airflow,train,gx,examples$(if $(filter-out local,$(ENGINE)),$(COMMA)$(ENGINE))
JARS := $(DEV)/share/tallywright/jars/.staged
PRISM := $(DEV)/share/tallywright/prism

# `uv` draws no bars into a log
export UV_NO_PROGRESS := $(if $(CI),true,false)

# Every step is a process of its own: without cached bytecode each would compile its imports again.
unexport PYTHONDONTWRITEBYTECODE
INSTALL = $(UV) pip install --quiet --compile-bytecode -c $(CONSTRAINTS)

.PHONY: help
help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(DEMO_READY)  ## Set up, then the whole life of a model under real Airflow (ENGINE=local, spark or beam)
	@$(DEMO)/bin/python scripts/demo.py $(DEMO_ARGS)

# Another engine than `local`: the overlay of its name, and a home beside the local one.
ifneq ($(ENGINE),local)
demo airflow airflow-stop: export TALLYWRIGHT_ENV := $(ENGINE)
demo airflow airflow-stop: export TALLYWRIGHT_HOME := .tally-$(ENGINE)
endif
ifeq ($(ENGINE),spark)
demo: java
endif

.PHONY: airflow
airflow: $(DEMO_READY)  ## The demo's Airflow UI again, in the foreground (Ctrl-C stops it)
	@$(DEMO)/bin/python scripts/airflow_local.py run

.PHONY: airflow-stop
airflow-stop:  ## Stop the Airflow that the demo left running
	@if [ -e $(DEMO_READY) ]; then $(DEMO)/bin/python scripts/airflow_local.py stop; else echo "nothing was running"; fi

.PHONY: test
test: lint java $(JARS) prism  ## Set up, lint, and all tests but those that are long and rarely red
	@$(DEV)/bin/python -m pytest $(PYTEST_ARGS) $(QUICK) --ignore tests/conformance
	@$(CONFORMANCE) $(QUICK)

.PHONY: test-full
test-full: lint java $(JARS) prism  ## All tests, the long ones too, with 100 kills and more random examples
	@TALLYWRIGHT_KILLS=100 $(EVERYTHING) $(DEV)/bin/python -m pytest $(PYTEST_ARGS) --ignore tests/conformance
	@$(EVERYTHING) $(CONFORMANCE)

.PHONY: wheel
wheel: $(UV)  ## Build the package into dist/
	@$(UV) build --quiet --wheel --out-dir dist . && ls dist/*.whl

.PHONY: lint
lint: $(DEV)/.ready  ## ruff, mypy --strict, import-linter
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/ruff format --check .
	@$(DEV)/bin/mypy
	@$(DEV)/bin/lint-imports

.PHONY: fmt
fmt: $(DEV)/.ready  ## Format the code and apply safe fixes
	@$(DEV)/bin/ruff check --fix-only --exit-zero .
	@$(DEV)/bin/ruff format .

.PHONY: bench
bench: $(DEV)/.ready  ## Scoring speed and memory, what DAG files and a day through Airflow cost, beside peers in the same run
	@$(DEV)/bin/python benchmarks/score_day.py
	@$(DEV)/bin/python benchmarks/dag_files.py
	@$(DEV)/bin/python benchmarks/airflow_day.py

.PHONY: bench-engines
bench-engines: $(DEV)/.ready java $(JARS) prism  ## Engines side by side on 5,000,000 rows, and what people write by hand
	@$(DEV)/bin/python benchmarks/engines.py

.PHONY: docs
docs: $(DEV)/.ready  ## Write the generated parts of docs/: JSON schema, tables
	@$(DEV)/bin/tally schema > docs/model.schema.json
	@$(DEV)/bin/python -m tallywright.reporting.tables > docs/tables.md

.PHONY: screenshots
screenshots: $(DEMO_READY)  ## Pictures of the UI and the report for the README (needs Chromium)
	@$(INSTALL) --python $(DEMO)/bin/python -e '.[docs]'
	@$(DEMO)/bin/python scripts/screenshots.py

.PHONY: lock
lock: $(UV)  ## Pin every dependency again, with hashes and without hosts
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --extra all --extra dev --extra docs pyproject.toml -o $(CONSTRAINTS)
	@echo 'pip-audit>=2.10,<3' | $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate - -o requirements/audit.txt

.PHONY: audit
audit: $(UV)  ## Look every pinned package up in a database of advisories (needs a connection to it)
	@test -x $(AUDIT)/bin/python || $(UV) venv --quiet --python "$(PYTHON)" $(AUDIT)
	@$(UV) pip install --quiet --python $(AUDIT)/bin/python --require-hashes -r requirements/audit.txt
	@$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r $(CONSTRAINTS)

.PHONY: clean
clean:  ## Remove environments, caches and the local lake
	@for home in .tally .tally-*; do if [ -d $$home/airflow ] && ls $(DEMO)/.ready* >/dev/null 2>&1; then \
		TALLYWRIGHT_HOME=$$home $(DEMO)/bin/python scripts/airflow_local.py stop; fi; done
	@rm -rf $(DEV) $(DEMO) $(AUDIT) .uv .tally .tally-* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build

# Without Go, or if it cannot be built, its tests are skipped, and the last lines of the tests say so.
.PHONY: prism
prism: $(DEV)/.ready  ## Build Prism, Beam's runner for one machine, where Go is installed
	@if $(PRISM) --help 2>&1 | grep -q job_socket || ! command -v go > /dev/null; then exit 0; fi; \
	version=$$($(DEV)/bin/python -c 'from importlib.metadata import version; print(version("apache-beam"))'); \
	echo "building Prism $$version (two minutes, once)"; mkdir -p $(dir $(PRISM)); \
	$(DEV)/bin/python scripts/build_prism.py $$version $(PRISM) \
		> $(PRISM).log 2>&1 || { echo "Prism could not be built:"; tail -5 $(PRISM).log; }

.PHONY: java
java:
	@java -version 2>&1 | grep -qE 'version "(1[7-9]|[2-9][0-9])' || { \
		echo "make test needs Java 17 or newer for Spark, and found none. On Debian or Ubuntu:"; \
		echo "  sudo apt-get install -y openjdk-17-jre-headless"; exit 1; }

$(UV): requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and was not found; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(DEV)/.ready: $(UV) pyproject.toml $(CONSTRAINTS)
	@echo "setting up $(DEV) (all extras and the developers' tools; about 7 GB the first time)"
	@test -x $(DEV)/bin/python || $(UV) venv --quiet --python "$(PYTHON)" $(DEV)
	@$(INSTALL) --python $(DEV)/bin/python -e '.[all,dev]'
	@touch $@

$(JARS): $(DEV)/.ready | java
	@$(DEV)/bin/python -m tallywright.spark_session --stage >/dev/null
	@touch $@

$(DEMO_READY): $(UV) pyproject.toml $(CONSTRAINTS)
	@echo "setting up $(DEMO) ($(DEMO_EXTRAS))"
	@test -x $(DEMO)/bin/python || $(UV) venv --quiet --python "$(PYTHON)" $(DEMO)
	@$(INSTALL) --python $(DEMO)/bin/python -e '.[$(DEMO_EXTRAS)]'
	@touch $@
