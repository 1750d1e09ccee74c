# `make demo` and `make test` need no set-up; `make help` lists all targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON3 ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .local/bootstrap/bin/uv)
BIN := .venv/bin
SAM := .venvs/sam/bin
# LOCAL_STACK=NAME makes these targets work on another stack than the developer's own.
LOCAL := $(BIN)/python -m tools.local $(if $(LOCAL_STACK),--name "$$LOCAL_STACK")
# Compile once: where Python cannot write byte code, each cold start of a function would compile boto3 again.
SYNC = $(UV) pip sync -q --require-hashes --compile-bytecode
LOCK = $(UV) pip compile -q --universal --python-version 3.13 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate
CLIENTS_JS := tests/integration/clients_js
AXE := tests/integration/axe
PRISM := tests/clients/prism
SCHEMAS := tests/clients/schemas
CHAOS := tests/integration/test_chaos.py
SOURCES := layers/common/python/replicate_proxy functions proxyctl tools tests examples

export SAM_CLI_TELEMETRY := 0

##@ The local stack
.PHONY: demo up down status env-vars logs story redrive key proxyctl invoke build
demo: env ## Start the stack, run one prediction and show every hop  [PROMPT="…" MODEL=stability-ai/sdxl INPUT='{…}']
	@$(LOCAL) demo $(if $(PROMPT),--prompt "$$PROMPT") $(if $(MODEL),--model "$$MODEL") $(if $(INPUT),--input "$$INPUT")

up: env ## Start the local AWS and the local Replicate, deploy, create API keys; safe to repeat
	@$(LOCAL) up

down: env ## Stop the local stack and delete its data
	@$(LOCAL) down

status: env ## Show servers, functions, queues, dead letters, jobs, the circuit breaker and pauses
	@$(LOCAL) status
	@$(LOCAL) proxyctl status

env-vars: env ## Print the shell commands that set API, KEY and ADMIN_KEY to those of the stack: eval "$(make -s env-vars)"
	@$(LOCAL) env-vars

logs: env ## Show the log of the functions  [FN=harvest JOB=… SINCE=2h REPORTS=1 FOLLOW=1]
	@$(LOCAL) logs $(if $(FN),--function "$$FN") $(if $(JOB),--job "$$JOB") $(if $(SINCE),--since "$$SINCE") \
		$(if $(REPORTS),--reports) $(if $(FOLLOW),--follow)

story: env ## Show all that is recorded about a prediction, with the lines of the log  ID=…
	@$(LOCAL) proxyctl jobs story --logs "$${ID:?set ID, for example ID=01kgahp2x3m4n5p6q7r8s9t0va}"

redrive: env ## Count, inspect or redrive dead letters  [QUEUE=dispatch|all PEEK=10 BODIES=1 TENANT= JOB= RATE=20]
	@$(LOCAL) proxyctl $(if $(PEEK),dead-letters peek $(QUEUE) --limit $(PEEK) $(if $(BODIES),--bodies),$(if \
		$(QUEUE),dead-letters redrive $(QUEUE) $(if $(TENANT),--tenant $(TENANT)) $(if $(JOB),--job $(JOB)) \
		$(if $(RATE),--rate $(RATE)),queues))

key: env ## Create, list, rotate or revoke API keys  [DO="create acme --scope predictions:read" | list | "rotate ID" | "revoke ID"]
	@$(LOCAL) proxyctl keys $(if $(DO),$(DO),create demo)

proxyctl: env ## Run a command of operators on the local stack  [DO="jobs list --status failed"]
	@$(LOCAL) proxyctl $(DO)

invoke: env ## Run a function with `sam local invoke`, which needs Docker  FN=ingest [EVENT=events/ingest/cancel.json]
	@$(LOCAL) invoke "$${FN:?set FN, for example FN=ingest}" $(if $(EVENT),"$$EVENT")

build: env ## Build template.yaml with `sam build`
	@$(LOCAL) build

##@ Checks
.PHONY: tune security test fmt lint types template-check unit integration integration-slow clients-js clients schemas bench bench-compare bench-docs load simulate reconcile explore mutants chaos chaos-smoke budget-load batch-load fairness coverage
test: lint types template-check unit integration ## Run lint, types, template-check, unit and integration
	@if command -v node >/dev/null; then echo "all checks passed, including the npm clients"; \
	else echo "all checks passed, but the npm clients were NOT tested: node is not installed"; fi
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null && [ -d $(AXE)/node_modules ] || \
		echo "the console was NOT tested in a browser: Chromium or npm is not installed"
	@docker info >/dev/null 2>&1 || echo "make invoke was NOT tested: no Docker engine is running"
	@echo "not included: tests that take minutes each (make integration-slow), more clients (make clients), chaos with 1,000 jobs (make chaos), security checks (make security)"

fmt: env ## Format the code and sort imports
	$(BIN)/ruff check -q --fix-only --select I $(SOURCES)
	$(BIN)/ruff format -q $(SOURCES)

lint: env ## Run ruff and codespell
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/codespell

types: env ## Run mypy
	$(BIN)/mypy --num-workers auto

template-check: env ## Run cfn-lint and `sam validate --lint`
	$(SAM)/cfn-lint -a cfn_lint_serverless.rules -- template.yaml infrastructure/*.yaml
	env -u AWS_PROFILE -u AWS_DEFAULT_PROFILE AWS_DEFAULT_REGION=us-east-1 $(SAM)/sam validate --lint -t template.yaml

unit: env clients-js ## Run unit, contract and template tests
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

coverage: env ## Run the same tests as unit, with branch coverage
	$(BIN)/pytest -q --cov --cov-report=term --cov-report=html

INTEGRATION = $(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder --timeout 600
integration integration-slow: PYTEST = $(INTEGRATION) -m "$(if $(filter integration,$@),not )slow" tests/integration
integration: env clients-js ## Run integration tests on temporary local stacks; repeat once those that fail
integration-slow: env ## Run those that take a minute or more, and chaos-smoke, in the same way
integration integration-slow:
	$(PYTEST) --durations 10 || { [ $$? -eq 1 ] && \
		echo "REPEATING the failed tests once, on new stacks" && \
		$(PYTEST) --last-failed --last-failed-no-failures none && \
		echo "the tests that failed at first PASSED WHEN REPEATED: see above for what made them fail"; }

simulate: env ## Simulate many seeds with faults and interleavings on all cores  [SEEDS=200 MINUTES=10 JOBS=100 FIRST=1 STORM=1]
	@$(BIN)/python -m tools.simulation run --first-seed $(or $(FIRST),1) --jobs $(or $(JOBS),100) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(STORM),--storm)

reconcile: env ## Compare the costs of 10,000 simulated jobs with the simulated invoice  [SEEDS=110]
	@$(BIN)/python -m tools.simulation run --jobs 100 --seeds $(or $(SEEDS),110)

explore: env ## Simulate all interleavings of small scenarios  [SCENARIO=webhook CHOICES=2 PREEMPTIONS=2 CRASHES=2 FAULTS=2 MINUTES=10]
	@$(BIN)/python -m tools.simulation explore $(if $(SCENARIO),--scenario $(SCENARIO)) \
		$(if $(CHOICES),--choices $(CHOICES)) $(if $(PREEMPTIONS),--preemptions $(PREEMPTIONS)) \
		$(if $(CRASHES),--crashes $(CRASHES)) $(if $(FAULTS),--faults $(FAULTS)) \
		$(if $(MINUTES),--minutes $(MINUTES))

mutants: env ## Let the simulation catch deliberately broken variants of the code  [SEEDS=200]
	@$(BIN)/python -m tools.simulation mutants --seeds $(or $(SEEDS),200)

chaos-smoke: env ## Run 40 jobs with injected faults on a temporary stack
	$(BIN)/pytest -q --timeout 900 $(CHAOS)

budget-load: env ## Run 1,000 concurrent creates against a budget of $5 on a temporary stack
	BUDGET_CREATES=1000 $(BIN)/pytest -q --timeout 1800 tests/integration/test_budgets.py -k overspend

batch-load: env ## Run a large batch whose worker is killed, and single predictions meanwhile, on a temporary stack  [LINES=10000]
	$(BIN)/python -m tools.batches.load $(if $(LINES),--lines $(LINES))

load: env .venvs/load/.stamp ## Send load to a temporary stack, or to URL, and count what is lost  [SCENARIO=burst SECONDS=60 RATE=3 URL=… MODEL=… INPUT='{…}']
	@$(BIN)/python -m tools.load $(or $(SCENARIO),steady) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(RATE),--rate $(RATE)) $(if $(URL),--url "$$URL") $(if $(MODEL),--model "$$MODEL") $(if $(INPUT),--input "$$INPUT")

fairness: env ## Measure how long one job waits behind 500 of another tenant with a limit, on a temporary stack
	FAIRNESS_JOBS=500 FAIRNESS_SECONDS=3 $(BIN)/pytest -q -s --timeout 1800 tests/integration/test_concurrency.py -k another_tenant

clients-js: ## Install the npm clients and axe-core if npm is installed
	@if command -v npm >/dev/null; then $(MAKE) -s $(CLIENTS_JS)/node_modules/.stamp $(AXE)/node_modules/.stamp; fi

clients: env .venvs/clients/.stamp .venvs/replicate-beta/.stamp $(PRISM)/node_modules/.stamp $(SCHEMAS)/node_modules/.stamp ## Test more clients, and every operation through Prism; needs npm
	$(BIN)/pytest -q --timeout 600 --durations 5 tests/clients

schemas: env $(SCHEMAS)/node_modules/.stamp ## Test the validation of inputs with the schemas of all public models; needs npm
	$(BIN)/pytest -q --timeout 600 tests/clients/test_public_models.py

chaos: env ## Run 1,000 jobs with injected faults; writes tools/bench/chaos.json  [JOBS=1000 SEED=1]
	@$(BIN)/python -m tools.chaos $(if $(JOBS),--jobs $(JOBS)) $(if $(SEED),--seed $(SEED))

security: env .venvs/security/.stamp ## Run bandit, pip-audit, checkov, and search for secrets
	@tools/checks/security.sh

bench: env ## Run the benchmarks, or some parts, and store them in tools/bench/results.json  [PART="console costs" REPEATS=3]
	$(BIN)/python -m tools.bench $(PART) $(if $(REPEATS),--repeats $(REPEATS))
	$(MAKE) bench-docs

bench-docs: env .venvs/bench/.stamp ## Write the tables and plots of docs/performance.md and docs/costs.md from the stored run
	$(BIN)/python -m tools.docs.performance
	$(BIN)/python -m tools.docs.costs
	.venvs/bench/bin/python -m tools.docs.plots

bench-compare: env ## Run benchmarks without storing them, or take NEW, and compare with the stored run  [PART=console REPEATS=3 NEW=new.json]
	$(BIN)/python -m tools.bench $(PART) --compare $(if $(REPEATS),--repeats $(REPEATS)) $(if $(NEW),--new "$$NEW")

tune: env .venvs/bench/.stamp ## Measure time and price of functions by memory; writes tools/bench/tune.svg  [FN="ingest query"]
	@$(BIN)/python -m tools.handlers $(FN)
	@.venvs/bench/bin/python -m tools.handlers.plot

##@ Releases to AWS
.PHONY: release validate
release: env ## Deploy and validate this commit; roll back if it fails  [CONFIG=dev GRADUAL=Canary10Percent5Minutes]
	@$(BIN)/python -m tools.release deploy $(if $(CONFIG),--config-env "$$CONFIG") $(if $(GRADUAL),--gradual "$$GRADUAL") \
		$(if $(MODEL),--model "$$MODEL")

validate: env ## Validate a deployed stack with the key in PROXY_API_KEY  URL=https://…/prod [MODEL=owner/name POLLING=1]
	@$(BIN)/python -m tools.release validate --url "$${URL:?set URL, for example URL=https://…/prod}" $(if $(MODEL),--model "$$MODEL") \
		$(if $(POLLING),--polling)

##@ Environments
.PHONY: env lock clean help
env: .venv/.stamp .venvs/sam/.stamp .venvs/ministack/.stamp ## Create the Python environments from the locked requirements

.local/bootstrap/bin/uv: requirements/uv.txt
	@echo "installing uv in .local/bootstrap" >&2
	@$(PYTHON3) -m venv .local/bootstrap || { echo "python3 cannot create virtual environments: install python3-venv or uv" >&2; exit 1; }
	@$(@D)/pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

ifeq ($(UV),.local/bootstrap/bin/uv)
.venv/.stamp .venvs/sam/.stamp .venvs/ministack/.stamp lock: | .local/bootstrap/bin/uv
endif

.venv/.stamp: requirements/dev.txt .python-version
	@echo "creating .venv" >&2
	@$(UV) venv -q --allow-existing --python "$$(cat .python-version)" .venv
	@$(SYNC) --python .venv $<
	@printf '%s\n' "$(CURDIR)" "$(CURDIR)/layers/common/python" > .venv/lib/python$$(cat .python-version)/site-packages/project.pth
	@touch $@

.venvs/%/.stamp: requirements/%.txt .python-version
	@echo "creating .venvs/$*" >&2
	@$(UV) venv -q --allow-existing --python "$$(cat .python-version)" .venvs/$*
	@$(SYNC) --python .venvs/$* $<
	@touch $@

%/node_modules/.stamp: %/package-lock.json
	@echo "installing the npm packages of $*"
	@cd $* && npm ci --silent
	@touch $@

lock: ## Lock all requirements again; UPGRADE=1 takes newer versions  [UPGRADE=1]
	@for name in uv dev sam ministack security bench peers load clients replicate-beta; do \
		$(LOCK) $(if $(UPGRADE),-U) requirements/$$name.in -o requirements/$$name.txt; done
	@$(LOCK) $(if $(UPGRADE),-U) layers/common/python/requirements.in --override requirements/runtime-provided.txt \
		-c requirements/dev.txt -o layers/common/python/requirements.txt
	@for folder in $(patsubst %/requirements.in,%,$(wildcard functions/*/requirements.in)); do \
		$(LOCK) $(if $(UPGRADE),-U) $$folder/requirements.in --override requirements/runtime-provided.txt \
			-c requirements/dev.txt -o $$folder/requirements.txt; done

clean: down ## Stop the local stack; remove environments, builds and caches
	rm -rf .venv .venvs .local .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis $(CLIENTS_JS)/node_modules $(AXE)/node_modules $(PRISM)/node_modules $(SCHEMAS)/node_modules

help: ## List all targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
