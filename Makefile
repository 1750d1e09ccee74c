# Replicate Proxy: `make demo` and `make test` do all of their own set-up; `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON3 ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .local/bootstrap/bin/uv)
BIN := .venv/bin
SAM := .venvs/sam/bin
LOCAL := $(BIN)/python -m tools.local
# Compiled once: where Python may not write byte code, each cold start of the emulator would compile boto3 anew.
SYNC = $(UV) pip sync -q --require-hashes --compile-bytecode
LOCK = $(UV) pip compile -q --universal --python-version 3.13 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate
CLIENTS_JS := tests/integration/clients_js
CHAOS := tests/integration/test_chaos.py
SOURCES := layers/common/python/replicate_proxy functions tools tests

export SAM_CLI_TELEMETRY := 0

##@ The local stack
.PHONY: demo up down status logs redrive key invoke build
demo: env ## Run the main job end to end and show every hop  [PROMPT="…" MODEL=owner/name]
	@$(LOCAL) demo $(if $(PROMPT),--prompt "$$PROMPT") $(if $(MODEL),--model "$$MODEL")

up: env ## Start the local AWS and the local Replicate, deploy, create a key; safe to repeat
	@$(LOCAL) up

down: env ## Stop it all; nothing is left running
	@$(LOCAL) down

status: env ## Processes, functions, queues and dead-letter queues
	@$(LOCAL) status

logs: env ## What the functions logged  [FN=harvest FOLLOW=1]
	@$(LOCAL) logs $(if $(FN),--function "$$FN") $(if $(FOLLOW),--follow)

redrive: env ## Dead letters: count them, or look, or send back  [QUEUE=dispatch|all PEEK=10 TENANT= JOB= RATE=20]
	@$(BIN)/python -m tools.local.redrive $(QUEUE) $(if $(PEEK),--peek $(PEEK)) $(if $(TENANT),--tenant $(TENANT)) \
		$(if $(JOB),--job $(JOB)) $(if $(RATE),--rate $(RATE))

key: env ## API keys by the admin API  [DO="create acme --scope predictions:read" | list | "rotate ID" | "revoke ID"]
	@$(LOCAL) key $(DO)

invoke: env ## One function in AWS's runtime by `sam local invoke` (needs Docker)  FN=ingest EVENT=events/ingest/create.json
	@$(LOCAL) invoke "$${FN:?which function? FN=ingest}" "$${EVENT:?which event? EVENT=events/ingest/create.json}"

build: env ## sam build of template.yaml
	@$(LOCAL) build

##@ Checks
.PHONY: security test fmt lint types template-check unit integration clients-js bench chaos chaos-smoke coverage
test: lint types template-check unit integration ## Everything: set-up, lint, types, template, unit, integration, node clients
	@if command -v node >/dev/null; then echo "all checks passed, the npm clients' among them"; \
	else echo "all checks passed, but node is not installed: the npm clients were NOT tested"; fi
	@echo "not part of this run: chaos with 1,000 jobs (make chaos), the slower security checks (make security)"

fmt: env ## Format and sort imports
	$(BIN)/ruff check -q --fix-only --select I $(SOURCES)
	$(BIN)/ruff format -q $(SOURCES)

lint: env ## ruff, codespell
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/codespell

types: env ## mypy --strict
	$(BIN)/mypy

template-check: env ## cfn-lint with the serverless rules, sam validate --lint
	$(SAM)/cfn-lint -a cfn_lint_serverless.rules -- template.yaml infrastructure/*.yaml
	AWS_DEFAULT_REGION=us-east-1 $(SAM)/sam validate --lint -t template.yaml

unit: env clients-js ## Unit, contract and template tests; no network
	$(BIN)/pytest -q -n 2 --dist loadfile

coverage: env ## The same with branch coverage
	$(BIN)/pytest -q --cov --cov-report=term --cov-report=html

integration: env clients-js ## On two local stacks of its own, the chaos in small on a third
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder --timeout 600 --durations 10 tests/integration

chaos-smoke: env ## A hundred jobs through every kind of fault, on a stack of their own
	$(BIN)/pytest -q --timeout 900 $(CHAOS)

clients-js: ## The npm clients, where node is
	@if command -v npm >/dev/null; then $(MAKE) -s $(CLIENTS_JS)/node_modules/.stamp; fi

chaos: env ## Break everything, count on both sides; writes tools/bench/chaos.json  [JOBS=1000 SEED=1]
	@$(BIN)/python -m tools.chaos $(if $(JOBS),--jobs $(JOBS)) $(if $(SEED),--seed $(SEED))

security: env .venvs/security/.stamp ## bandit, pip-audit, checkov, template rules, secrets in the tree
	@tools/checks/security.sh

bench: env ## Measure; writes tools/bench/results.json
	$(BIN)/python -m tools.bench

##@ Releases to AWS
.PHONY: release validate
release: env ## Deploy this commit, validate it by real requests, go back if it fails  [CONFIG=dev GRADUAL=Canary10Percent5Minutes]
	@$(BIN)/python -m tools.release deploy $(if $(CONFIG),--config-env "$$CONFIG") $(if $(GRADUAL),--gradual "$$GRADUAL") \
		$(if $(MODEL),--model "$$MODEL")

validate: env ## The same requests to any stack, with the key in PROXY_API_KEY  URL=https://…/prod [MODEL=owner/name]
	@$(BIN)/python -m tools.release validate --url "$${URL:?which stack? URL=https://…/prod}" $(if $(MODEL),--model "$$MODEL")

##@ Environments
.PHONY: env lock clean help
env: .venv/.stamp .venvs/sam/.stamp .venvs/ministack/.stamp ## All environments, from hash-locked requirements

.local/bootstrap/bin/uv: requirements/uv.txt
	@echo "fetching uv into .local/bootstrap"
	@$(PYTHON3) -m venv .local/bootstrap || { echo "python3 cannot make virtual environments: install python3-venv, or uv" >&2; exit 1; }
	@$(@D)/pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

ifeq ($(UV),.local/bootstrap/bin/uv)
.venv/.stamp .venvs/sam/.stamp .venvs/ministack/.stamp lock: | .local/bootstrap/bin/uv
endif

.venv/.stamp: requirements/dev.txt .python-version
	@echo "making .venv"
	@$(UV) venv -q --allow-existing --python "$$(cat .python-version)" .venv
	@$(SYNC) --python .venv $<
	@printf '%s\n' "$(CURDIR)" "$(CURDIR)/layers/common/python" > .venv/lib/python$$(cat .python-version)/site-packages/project.pth
	@touch $@

.venvs/%/.stamp: requirements/%.txt .python-version
	@echo "making .venvs/$*"
	@$(UV) venv -q --allow-existing --python "$$(cat .python-version)" .venvs/$*
	@$(SYNC) --python .venvs/$* $<
	@touch $@

$(CLIENTS_JS)/node_modules/.stamp: $(CLIENTS_JS)/package-lock.json
	@echo "installing the npm clients"
	@cd $(CLIENTS_JS) && npm ci --silent
	@touch $@

lock: ## Lock every requirements/*.in again (UPGRADE=1 for newer versions)
	@for name in uv dev sam ministack security bench; do \
		$(LOCK) $(if $(UPGRADE),-U) requirements/$$name.in -o requirements/$$name.txt; done
	@$(LOCK) $(if $(UPGRADE),-U) layers/common/python/requirements.in --override requirements/runtime-provided.txt \
		-c requirements/dev.txt -o layers/common/python/requirements.txt
	@for folder in $(patsubst %/requirements.in,%,$(wildcard functions/*/requirements.in)); do \
		$(LOCK) $(if $(UPGRADE),-U) $$folder/requirements.in --override requirements/runtime-provided.txt \
			-c requirements/dev.txt -o $$folder/requirements.txt; done

clean: down ## Stop everything and remove environments, builds and caches
	rm -rf .venv .venvs .local .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis $(CLIENTS_JS)/node_modules

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
