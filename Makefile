# Everything runs in .venv, which `make setup` creates. CI runs the same targets.
PYTHON ?= python3
BIN := .venv/bin
TESTS := $(BIN)/pytest --numprocesses=auto

.DEFAULT_GOAL := help
.PHONY: help setup test unit lint format generate rules dist demo stack

help: ## Show this help.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Create .venv with the exporter and the development tools. Run it again when pyproject.toml changes.
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'

unit: ## Run the tests that need no other programs, in about a minute. ARGS="-k name" selects some.
	$(TESTS) --dist=worksteal -m "not external" $(ARGS)

test: export CONTAINERS_CONF ?= $(CURDIR)/.ci/containers.conf
test: ## Run all tests. Those whose programs are not installed are skipped.
	$(TESTS) --dist=loadfile $(ARGS)

lint: ## Check style, types, the Dockerfile, the workflows, and that all generated files are up to date.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	$(BIN)/zizmor --quiet --offline --persona=pedantic --strict-collection .
	@if command -v actionlint >/dev/null; then set -x; actionlint -shellcheck=$(BIN)/shellcheck; \
	else echo "actionlint is not installed: CONTRIBUTING.md says how to install it"; fi
	$(BIN)/python .ci/generate.py --check

format: ## Format the code and fix what can be fixed automatically.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: ## Update all generated files: metrics reference, settings, dashboards, golden files, runbook pages.
	$(BIN)/python .ci/generate.py

rules: override export RUNBOOKS := $(value RUNBOOKS)
rules: override export GRAFANA := $(value GRAFANA)
rules: ## Write rules and dashboards to build/ with links to your exporter and Grafana: RUNBOOKS=URL GRAFANA=URL.
	@$(PYTHON) deploy/links.py

dist: ## Build the packages of a release in dist/: wheel, source, rules and dashboards, chart, SBOM, checksums.
	@$(BIN)/python .ci/dist.py

demo: ## Run the exporter with a simulated account on http://localhost:10142/.
	$(BIN)/telnyx-exporter --demo

stack: override export ENGINE := $(value ENGINE)
stack: ## Run the demo, Prometheus and Alertmanager; with Docker, also Grafana. ENGINE=none runs no containers.
	@$(BIN)/python deploy/stack.py
