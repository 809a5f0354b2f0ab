#!/usr/bin/env bash
# k6.sh PROFILE: run bench/k6/PROFILE.js. The exit code is k6's: 0 when all thresholds hold, 99 when one does not.
#
#   BASE_URL        the gateway to load; without it, one is built and started for the run, with the backends it needs
#   K6_BACKENDS     real or demo: FastAPI and Express processes, or the gateway's own simulation; each profile has its own default
#   K6_SUMMARY_OUT  where the summary goes (bench/reports/k6-PROFILE.json); k6's HTML report is beside it
#   K6_QUICK=1      a few seconds at a low rate; RATE (a second) and DURATION (90s, 2m) set them
#
# What else a profile reads is in its first lines.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
profile=${1:-}
profile=${profile#k6-}
script=bench/k6/$profile.js
if [ $# != 1 ] || [ ! -f "$script" ]; then
	echo "usage: scripts/k6.sh PROFILE, which is one of: $(cd bench/k6 && echo *.js | sed 's/\.js//g')" >&2
	exit 2
fi
. scripts/stack.sh

echo "== tools (the first build of k6 takes minutes)"
"${MAKE:-make}" -s .bin/k6 || die "k6 cannot be built from scripts/tools/k6"

# Limits that let everything in, so that the limiter has its share in every request and refuses none.
open=(GLOBAL_RPS=1000000 GLOBAL_BURST=1000000 CLIENT_RPS=1000000 CLIENT_BURST=1000000)
limits=("${open[@]}")
backends=real
case $profile in
smoke | cache) backends=demo ;;
ratelimit)
	# A refused client must not take from the others: 60 and 4 a second are offered, and 30 in all would not be enough for both.
	backends=demo
	limits=(CLIENT_RPS="${CLIENT_RPS:=20}" CLIENT_BURST="${CLIENT_BURST:=40}" GLOBAL_RPS="${GLOBAL_RPS:=30}" GLOBAL_BURST="${GLOBAL_BURST:=60}")
	;;
esac
backends=${K6_BACKENDS:-$backends}

if [ -z "${BASE_URL:-}" ]; then
	echo "== gateway, with $backends backends"
	"${MAKE:-make}" -s build
	services=()
	case $backends in
	demo) ;;
	real)
		start_python
		services=(PY_SERVICE_URL="$python" LLM_SERVICE_URL="$python")
		if [ "$profile" = smoke ]; then
			start_node
			services+=(NODE_SERVICE_URL="$node")
		fi
		;;
	*) die "K6_BACKENDS=$backends: want real or demo" ;;
	esac
	if [ "$profile" = generations ]; then
		gateway_config=$stack_logs/generations.yaml
		echo 'routes: [{path: "/v1/*", pool: llm, cache: {post: true, ttl: 10m}}]' >"$gateway_config"
	fi
	start_gateway "${limits[@]}" "${services[@]}"
	export BASE_URL=$gateway
	if [ "$profile" = ratelimit ]; then
		export CLIENT_RPS CLIENT_BURST GLOBAL_RPS GLOBAL_BURST
	fi
else
	curl -sS -o "$stack_logs/stack-ready" "${BASE_URL%/}/healthz" || die "BASE_URL=$BASE_URL: no gateway answers there"
fi

echo "== k6 $profile on $BASE_URL"
out=${K6_SUMMARY_OUT:-bench/reports/k6-$profile.json}
mkdir -p "$(dirname "$out")"
rm -f "$out" "${out%.json}.html"
export K6_SUMMARY_OUT=$out K6_NO_USAGE_REPORT=true
# The HTML report is k6's own dashboard, kept; -1: nobody watches it meanwhile.
export K6_WEB_DASHBOARD=true K6_WEB_DASHBOARD_PORT=-1 K6_WEB_DASHBOARD_PERIOD=1s K6_WEB_DASHBOARD_EXPORT=${out%.json}.html
code=0
follow .bin/k6 run "$script" || code=$?
# k6 logs that it could not write the summary, and ends well.
[ -s "$out" ] || die "k6 left no summary in $out"
exit $code
