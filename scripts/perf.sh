#!/usr/bin/env bash
# perf.sh baseline|cached|redis|report|all: the profile mixed with the cache off, in memory, and in Redis.
# perf.sh generations: the profile generations without a cache for models' answers and with it.
#
# Each run has a gateway, a FastAPI service and, if asked for, a Redis of its own, started for it and empty. Raw results are
# bench/reports/perf/<none|memory|redis>.json; `report` writes what is made of them into bench/reports. RATE, DURATION, SEED
# and K6_QUICK go to the profile. A run whose thresholds do not hold is kept and told, and the exit code is 99.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/stack.sh

raw=bench/reports/perf
mkdir -p "$raw"

# run MODE SETTING...: one run, recorded as $raw/MODE.json.
run() {
	local mode=$1 code=0 name
	local notes=.bin/log/perf-$1
	shift
	echo "== perf $mode: starting a gateway, FastAPI${redis:+ and Redis}"
	start_python
	start_gateway GLOBAL_RPS=1000000 GLOBAL_BURST=1000000 CLIENT_RPS=1000000 CLIENT_BURST=1000000 \
		PY_SERVICE_URL="$python" "$@"
	mkdir -p "$notes"
	rm -f "$notes"/*
	curl -fsS -o "$notes/before.txt" "$gateway/metrics"
	follow env BASE_URL="$gateway" K6_SUMMARY_OUT="$notes/k6.json" EXPECT_CACHE="$expect_cache" scripts/k6.sh mixed || code=$?
	[ $code = 0 ] || [ $code = 99 ] || exit $code
	curl -fsS -o "$notes/after.txt" "$gateway/metrics"
	curl -fsS -o "$notes/cachez.json" "$gateway/cachez"
	curl -fsS -o "$notes/stats.json" "$python/stats?id=none"
	stop_all
	if [ -f "$notes/k6.html" ]; then mv "$notes/k6.html" "$raw/$mode.html"; fi
	python3 scripts/perf_report.py record "$mode" "$notes" "$raw/$mode.json"
	[ $code = 0 ] || missed=$code
}

missed=0
redis=
run_baseline() { expect_cache=no run none CACHE_ENABLED=false; }
run_cached() { expect_cache=yes run memory CACHE_BACKEND=memory; }
run_redis() {
	start_redis
	expect_cache=yes run redis CACHE_BACKEND=redis REDIS_ADDR="$redis"
	redis=
}

# generate MODE: one run of the profile generations, recorded as $raw/generations-MODE.json.
generate() {
	local code=0 notes=$PWD/.bin/log/perf-generations
	echo "== perf generations, $1: starting a gateway and FastAPI"
	mkdir -p "$notes"
	gateway_config=$notes/gateway.yaml
	printf 'routes: [{path: "/v1/*", pool: llm, cache: %s}]\n' "$2" >"$gateway_config"
	start_python
	start_gateway GLOBAL_RPS=1000000 GLOBAL_BURST=1000000 CLIENT_RPS=1000000 CLIENT_BURST=1000000 LLM_SERVICE_URL="$python"
	follow env BASE_URL="$gateway" K6_SUMMARY_OUT="$raw/generations-$1.json" EXPECT_CACHE="$3" scripts/k6.sh generations || code=$?
	[ $code = 0 ] || [ $code = 99 ] || exit $code
	stop_all
	gateway_config=
	[ $code = 0 ] || missed=$code
}

report() { python3 scripts/perf_report.py "$1" "$raw" bench/reports; }

"${MAKE:-make}" -s build
case ${1#perf:} in
baseline)
	run_baseline
	report baseline
	;;
cached) run_cached ;;
redis) run_redis ;;
report) report report ;;
all)
	run_baseline
	run_cached
	run_redis
	report report
	;;
generations)
	generate without '{enabled: false}' no
	generate with '{post: true, ttl: 10m}' yes
	python3 scripts/generations_report.py "$raw/generations-without.json" "$raw/generations-with.json" bench/reports
	;;
*) die "usage: scripts/perf.sh baseline|cached|redis|report|all|generations" ;;
esac
exit $missed
