# `make help` lists the targets.

PYTHON ?= python3
# The engine to install: cpu or gpu.
EXTRA ?= cpu
# Where pip finds PyTorch's CPU builds, when it does not know by itself.
TORCH_INDEX ?=
HOST ?=
PORT ?=
CONFIG ?=
# How many suites of tests run at the same time.
JOBS ?= 2

BIN := .venv/bin
STAMP := .venv/.installed-$(EXTRA)
LOCK := requirements/$(EXTRA).txt
PIP := $(BIN)/python -m pip --disable-pip-version-check
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
CONFIG_PORT = $(if $(CONFIG),$(shell grep -oE '\bport: *[0-9]+' $(CONFIG) 2>/dev/null | head -n 1 | tr -dc 0-9))
TORCH_CPU := $(shell sed -n 's/^\(torch==.*\)/\1/p' requirements/cpu.txt)

# `JOBS` suites run beside each other, from the longest to the shortest: each waits most of the time for a process to start, a
# clock or a network. `make test-serve` runs one alone.
SUITES := test-engines test-serve test-observability test-load test-api-server test-nodes test-network
# Makes targets beside each other, all of them even when one fails, and prints a command's output in one piece.
TOGETHER = $(MAKE) --no-print-directory --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync=line)
# vLLM's default binds an engine's one thread to a core, and engines beside each other to the same core.
ONE_THREAD := VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help serve test check check-lint check-types check-unit $(SUITES) autoscale chaos soak bench bench-fusing in-flight simulate format k8s dashboards lock clean free-port .venv

help: ## What can be made
	@sed -n 's/^\([a-z.-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

serve: free-port $(STAMP) ## Serve, in the foreground: make serve [PORT=8123] [HOST=...] [CONFIG=my.yaml]
	@exec $(BIN)/fusion serve $(if $(CONFIG),-c $(CONFIG)) $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

.venv: $(STAMP) ## Install everything into .venv, with pinned versions

test: check ## Everything that is checked, some 20 minutes on two cores
	+@$(TOGETHER) -j$(JOBS) $(SUITES)

check: $(STAMP) ## The fast part, a minute: lint, types, import contract, unit tests
	+@$(TOGETHER) -j3 check-lint check-types check-unit

check-lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

check-types: $(STAMP)
	$(BIN)/pyright

check-unit: $(STAMP)
	$(BIN)/pytest -n auto tests/unit

test-engines: PYTEST := $(ONE_THREAD) $(BIN)/pytest tests/vllm --ignore tests/vllm/test_vllm_server.py
test-api-server: PYTEST := $(ONE_THREAD) $(BIN)/pytest tests/vllm/test_vllm_server.py
test-serve: PYTEST := $(BIN)/pytest tests/serve
test-observability: PYTEST := $(ONE_THREAD) $(BIN)/pytest tests/observability
# It kills replicas, and no other suite's must get a port that a killed one had while HAProxy still looks there.
test-load: PYTEST := RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT=30500 $(BIN)/pytest tests/benchmarks tests/scaling tests/chaos
test-nodes: PYTEST := $(ONE_THREAD) $(BIN)/pytest tests/nodes
test-network: PYTEST := $(BIN)/pytest -n auto tests/remote tests/faults tests/grafana tests/k8s

$(SUITES): $(STAMP)
	@echo "==> $@"
	$(PYTEST)

autoscale: $(STAMP) ## Steps of load from 1 to 200 clients and back, and beyond: build/autoscale
	$(BIN)/python -m tests.scaling.autoscale

chaos: $(STAMP) ## Kill and change parts of a service under load, and say what failed, ten minutes: build/chaos
	$(BIN)/python -m tests.chaos.chaos

soak: $(STAMP) ## An hour's load in ten minutes, and what grew: build/soak
	$(BIN)/python -m tests.chaos.soak

simulate: $(STAMP) ## The scaling policies at up to 50,000 requests a second, simulated, into docs/autoscaling.md
	$(BIN)/python -m tests.simulation

bench: $(STAMP) ## Measure everyone who fuses on the same work, half an hour: make bench [BENCH="--rounds 1"]
	$(BIN)/python -m tests.benchmarks $(BENCH)

bench-fusing: $(STAMP) ## Measure what fusing itself saves, three minutes
	$(BIN)/python -m tests.benchmarks.fusing

in-flight: $(STAMP) ## Two thousand fused requests in flight on one judge replica for ten minutes: build/in-flight
	$(BIN)/python -m tests.benchmarks.in_flight $(IN_FLIGHT)

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A clash is said before anything is installed; with a configuration, the first port that the file names is taken for the
# service's. The command itself looks again, at what it will really listen on.
free-port:
	@$(PYTHON) -c "import socket, sys; s = socket.socket(); p = int(sys.argv[1]); sys.exit(0 if s.connect_ex(('127.0.0.1', p)) else f'port {p} on 127.0.0.1 is in use: choose another one with PORT=...')" $(or $(PORT),$(CONFIG_PORT),8000)

# The lock names every package of the tree, so nothing is resolved and nothing else comes along.
$(STAMP): pyproject.toml $(LOCK)
	@$(PYTHON) -c "import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else 'Python 3.11 or 3.12 is needed, this is ' + sys.version.split()[0] + ': choose another one with PYTHON=...')"
	@echo "==> making .venv"
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 2; }
	@rm -f .venv/.installed-*
ifeq ($(EXTRA),cpu)
	@$(PIP) install --quiet --dry-run --no-deps --ignore-installed $(INDEX) '$(TORCH_CPU)' >/dev/null 2>&1 || { \
	  echo "pip does not find $(TORCH_CPU), which is in PyTorch's own index for CPU builds." >&2; \
	  echo "Take its address from the \"Get Started\" page of pytorch.org (Pip, CPU) and run:" >&2; \
	  echo "    make .venv TORCH_INDEX=<that address>" >&2; exit 2; }
endif
	@echo "==> installing $$(grep -c == $(LOCK)) pinned packages, about 4 GB: 2 to 5 minutes"
	@$(PIP) install --no-deps $(INDEX) -r $(LOCK)
	@$(PIP) install --no-deps --quiet -e .
	@touch $@

k8s: $(STAMP) ## Render every overlay's application from its configuration
	@for folder in k8s/overlays/*/; do \
	  $(BIN)/fusion k8s render -c $${folder}fusion.yaml > $${folder}application.tmp || { rm -f $${folder}application.tmp; exit 1; }; \
	  mv $${folder}application.tmp $${folder}application.yaml; done

dashboards: $(STAMP) ## Render Grafana's dashboards and the alerts into k8s/components/monitoring
	$(BIN)/fusion grafana render -o k8s/components/monitoring

lock: ## Resolve all versions anew and write requirements/
	sh requirements/lock.sh $(PYTHON) $(TORCH_INDEX)

clean: ## Remove what was installed and built
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
