# `make` lists the targets. What the tests and benchmarks do step by step is in scripts/test.sh and scripts/bench.sh.

.DEFAULT_GOAL := help

# Evaluated only where it is used; a tree without git or without a commit is "dev".
VERSION = $(shell git describe --always --dirty 2>/dev/null || echo dev)

## Run

run: build ## build and start the gateway on :8080 with simulated backends inside it (settings: PORT=9000 make run)
	@exec .bin/gateway -demo

# Static, without paths of this machine in it. The version comes in here, so the build does not ask git a second time.
build: ## build the gateway into .bin/gateway
	@mkdir -p .bin
	@[ -x .bin/gateway ] && echo "building .bin/gateway" || echo "building .bin/gateway; the first time this fetches and compiles what it needs, a minute or two"
	@CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o .bin/gateway ./gateway

## Test

quick: ## the first loop, under a minute: format, vet and the Go tests without what takes long and without the race detector
	@scripts/test.sh test-format test-vet test-short

test: ## everything that must pass; installs what is missing where it can and says what it could not (STRICT=1: a skip fails)
	@scripts/test.sh

test-format: ## gofmt has nothing to change
	@scripts/test.sh $@

test-vet: ## go vet, integration tests included
	@scripts/test.sh $@

lint: ## staticcheck, and go.mod is tidy
	@scripts/test.sh $@

test-go: ## Go tests with the race detector
	@scripts/test.sh $@

test-direct: ## tests of connections without the race detector, as the sockets are in the binary
	@scripts/test.sh $@

test-alloc: ## allocation tests (every Go test with Alloc in its name), without the race detector, which allocates itself
	@scripts/test.sh $@

test-fuzz-smoke: ## a few seconds of every fuzz target (FUZZTIME=3s)
	@scripts/test.sh $@

soak: ## Go tests of endurance at their whole length, minutes to an hour
	@scripts/test.sh $@

test-python: ## FastAPI backend: ruff and pytest
	@scripts/test.sh $@

test-node: ## Express backend: npm run lint and npm test
	@scripts/test.sh $@

test-scripts: ## scripts/*.py: ruff and pytest
	@scripts/test.sh $@

test-k6: ## the k6 profiles parse, and what they share does what it says
	@scripts/test.sh $@

test-stack: ## compose, Kubernetes, workflow, Prometheus and Grafana files, without an engine
	@scripts/test.sh $@

test-integration: ## the real gateway in front of a real FastAPI and a real Express process
	@scripts/test.sh $@

test-browser: ## the dashboard, and a page of another origin, in a real browser, if chromium is installed
	@scripts/test.sh $@

browser-soak: ## the dashboard under load for five minutes: do its charts show what /metrics says (LASTS=60: a minute)
	@scripts/test.sh $@

pictures: ## the pictures of the dashboard in these pages, taken by its test
	@scripts/test.sh $@

## Measure

bench: ## Go benchmarks, kept as bench/reports/go-bench.txt and shown by benchstat (BENCH=regexp COUNT=6 BENCHTIME=200ms)
	@scripts/bench.sh

bench-stat: .bin/benchstat ## compare the last two runs of make bench
	@.bin/benchstat bench/reports/go-bench.old.txt bench/reports/go-bench.txt

bench-compare: ## compare a new run with bench/reports/baseline.txt; only more allocations fail (BENCH=regexp COUNT=6)
	@scripts/bench.sh compare

bench-baseline: ## make a new run the baseline
	@scripts/bench.sh baseline

peers: build ## the same work by nginx, HAProxy, Varnish, Caddy, Traffic Server where installed (PEERS=ours,nginx WORK=post,hit ROUNDS=5 TIME=2s)
	@go build -trimpath -buildvcs=false -o .bin/peers ./bench/peers
	@.bin/peers $(if $(PEERS),-peers "$(PEERS)") $(if $(WORK),-work "$(WORK)") $(if $(ROUNDS),-rounds "$(ROUNDS)") \
	        $(if $(TIME),-time "$(TIME)") $(if $(RATE),-rate "$(RATE)") $(if $(OUT),-out "$(OUT)") $(if $(BEFORE),-before "$(BEFORE)")

peers-install: ## install those proxies from Debian, without starting them; needs root
	@scripts/setup.sh peers

field: build ## what users of AI gateways feel, beside nginx, HAProxy and AI gateways (CELLS=latency,cpu PEERS=ours,nginx ROUNDS=5 TIME=2s AFTER=60s)
	@go build -trimpath -buildvcs=false -o .bin/fieldbench ./bench/field
	@.bin/fieldbench $(if $(PEERS),-peers "$(PEERS)") $(if $(CELLS),-cells "$(CELLS)") $(if $(ROUNDS),-rounds "$(ROUNDS)") \
	        $(if $(TIME),-time "$(TIME)") $(if $(AFTER),-after "$(AFTER)") $(if $(OUT),-out "$(OUT)")

field-reports: build ## measure the kept reports of the field anew, run by run (REPORT="field grow" UNDER="flock /tmp/quiet" ADD=1 TIMES=1 ONLY=idle)
	@go build -trimpath -buildvcs=false -o .bin/fieldbench ./bench/field
	@UNDER="$(UNDER)" ADD="$(ADD)" TIMES="$(TIMES)" ONLY="$(ONLY)" $(if $(OUT),OUT="$(OUT)") bench/field/reports.sh $(REPORT)

field-install: ## bring nginx, HAProxy, Caddy, vllm-router, sglang-router, LiteLLM and Portkey into .bin/field, pinned (ONLY="caddy litellm")
	@bench/field/install.sh $(ONLY)

failover: build ## sixteen ways in which a provider fails, against the binary: what is expected and what is seen (about a minute)
	@go run ./bench/failover -gateway .bin/gateway

load: ## build the load generator into .bin/load
	@go build -trimpath -buildvcs=false -o .bin/load ./bench/load

## Load (K6_QUICK=1: a few seconds; BASE_URL: a gateway that runs already; see bench/README.md)

k6-smoke: ## every route, a few requests
	@scripts/k6.sh $@

k6-baseline: ## posts, 50 a second and then 150 for two minutes
	@scripts/k6.sh $@

k6-optimized: ## posts, 200 a second with tighter bounds
	@scripts/k6.sh $@

k6-ratelimit: ## what limits admit and refuse, and how they say it
	@scripts/k6.sh $@

k6-cache: ## 40 clients on one answer that takes 120 ms to make
	@scripts/k6.sh $@

k6-mixed: ## 80 % GET of prompts that repeat as they do in life (Zipf), 20 % POST
	@scripts/k6.sh $@

k6-stream: ## streamed chat completions
	@scripts/k6.sh $@

k6-generations: ## chat completions that repeat, whole and streamed
	@scripts/k6.sh $@

k6-spike: ## bursts of 200 to 250 posts a second
	@scripts/k6.sh $@

k6-soak: ## half an hour of mixed work, watching what grows (DURATION=4h)
	@scripts/k6.sh $@

perf\:baseline: ## the mixed profile without a cache: Perf_Baseline.md
	@scripts/perf.sh $@

perf\:cached: ## the same with the memory cache
	@scripts/perf.sh $@

perf\:redis: ## the same with memory in front of Redis
	@scripts/perf.sh $@

perf\:report: ## the three compared: PerfReport_CacheV1.md, PerfReport_v2.md, JSON, CSV and a chart in bench/reports
	@scripts/perf.sh $@

perf\:generations: ## chat completions without a cache for generations and with it: Perf_Generations.md, JSON and a chart
	@scripts/perf.sh $@

perf\:all: ## the three runs, four minutes, and the report
	@scripts/perf.sh $@

## Stack

# REPLICAS=2: two gateways behind one address. COMPOSE may name another engine, such as COMPOSE="podman compose".
COMPOSE ?= docker compose
stack = VERSION=$(VERSION) $(COMPOSE) -f compose/compose.yaml $(if $(filter 2,$(REPLICAS)),-f compose/replicas.yaml)

up: ## build and start the compose stack, and wait until all of it is healthy (REPLICAS=2: two gateways and a balancer)
	@$(stack) up --build --detach --wait
	@echo "gateway http://localhost:$(or $(GATEWAY_PORT),8080)  Prometheus http://localhost:$(or $(PROMETHEUS_PORT),9090)  Grafana http://localhost:$(or $(GRAFANA_PORT),3000)"

down: ## stop the stack, and remove all of it but its images
	@$(stack) --profile k6 down --volumes --remove-orphans

rebuild: ## build the images anew, without what was built before, and start them
	@$(stack) build --no-cache --pull
	@$(stack) up --detach --wait

ps: ## what runs of the stack, and how it is
	@$(stack) ps

logs: ## follow the stack's logs (SERVICE=gateway)
	@$(stack) logs --follow --tail 100 $(SERVICE)

smoke: ## a request down every route of the running stack, and a restart that must keep the cache
	@ADMIN_TOKEN=$(or $(ADMIN_TOKEN),demo) \
	 $(if $(filter 2,$(REPLICAS)),SECOND_URL=http://localhost:$(or $(GATEWAY_2_PORT),8082)) \
	 RESTART='$(stack) restart gateway' \
	 scripts/smoke.sh http://localhost:$(or $(if $(filter 2,$(REPLICAS)),$(or $(GATEWAY_1_PORT),8081)),$(GATEWAY_PORT),8080)

k6-stack: ## a k6 profile against the stack, from inside it (K6_PROFILE=smoke)
	@$(stack) --profile k6 run --rm k6

## Tend

setup: ## install what the tests need beside Go: C compiler, linter, Python venv, node modules
	@scripts/setup.sh

fmt: ## format the Go code, and the Python code once its venv is there
	@gofmt -s -w $(wildcard gateway bench)
	@if [ -x backends/python/.venv/bin/ruff ]; then cd backends/python && \
		.venv/bin/ruff format --quiet . && .venv/bin/ruff format --quiet --config pyproject.toml ../../scripts; fi

clean: ## remove what was built and installed here, images and containers of the stack included
	@if docker info >/dev/null 2>&1; then $(stack) --profile k6 down --volumes --remove-orphans --rmi local; fi
	@rm -rf .bin backends/python/.venv backends/node/node_modules scripts/tools/browser/node_modules
	@find backends scripts \( -name __pycache__ -o -name .pytest_cache -o -name .ruff_cache \) -prune -exec rm -rf {} + 2>/dev/null || true

help:
	@awk '/^## / { printf "\n%s\n", substr($$0, 4) } \
	      /^[a-z][a-z0-9-]*(\\:[a-z]+)?:.* ## / { name = $$1; sub(/:$$/, "", name); sub(/\\/, "", name); sub(/^.* ## /, ""); printf "  make %-17s %s\n", name, $$0 }' \
	      $(MAKEFILE_LIST)

# Tools at the versions that scripts/tools pins, kept out of the gateway's own go.mod. k6 brings a hundred modules and has a
# module of its own, so that the linter need not wait for them. All are built again when the pins or the Go version change:
# a linter built by an older Go refuses newer code.

.bin/staticcheck: scripts/tools/go.mod scripts/tools/go.sum .bin/go-version
	@go -C scripts/tools build -trimpath -buildvcs=false -o "$(CURDIR)/$@" honnef.co/go/tools/cmd/staticcheck

.bin/benchstat: scripts/tools/go.mod scripts/tools/go.sum .bin/go-version
	@go -C scripts/tools build -trimpath -buildvcs=false -o "$(CURDIR)/$@" golang.org/x/perf/cmd/benchstat

.bin/k6: scripts/tools/k6/go.mod scripts/tools/k6/go.sum .bin/go-version
	@go -C scripts/tools/k6 build -trimpath -buildvcs=false -o "$(CURDIR)/$@" go.k6.io/k6

.bin/go-version: always
	@mkdir -p .bin
	@go version | cmp -s - $@ || go version > $@

.PHONY: always help run build quick soak test test-format test-vet lint test-go test-direct test-alloc test-fuzz-smoke test-python test-node \
        test-scripts test-k6 test-stack test-integration test-browser browser-soak pictures bench bench-stat bench-compare bench-baseline peers peers-install field field-reports field-install load failover \
        k6-smoke k6-baseline k6-optimized k6-ratelimit k6-cache k6-mixed k6-stream k6-generations k6-spike k6-soak \
        perf\:baseline perf\:cached perf\:redis perf\:report perf\:generations perf\:all \
        up down rebuild ps logs smoke k6-stack setup fmt clean
