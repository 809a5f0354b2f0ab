#!/usr/bin/env bash
# smoke.sh [BASE_URL]: send one request down every route of a running stack, and stop at the first fault with exit code 1.
#
#   BASE_URL       the gateway, http://localhost:8080 without an argument
#   SECOND_URL     another gateway on the same Redis: what one keeps, replaces or purges, the other knows, and a limit
#                  holds for both together
#   RESTART        a command that restarts the gateway: what it had kept is still there afterwards (CACHE_BACKEND=redis)
#   ADMIN_URL      where /metrics and /cachez are when ADMIN_ADDR moved them; BASE_URL without it
#   ADMIN_TOKEN    lets DELETE /cachez in; without it only the refusal is tested
#   WAIT           seconds to wait until the gateway is ready, 30 without it
#   CURL_OPTIONS   more options for curl, such as -k
#
# What the gateway's settings switch off is left out and said so. Needs bash and curl. Limits are tested last, and as a
# client of the documentation's address range, so that whoever comes after this is not refused.
set -euo pipefail
export LC_ALL=C

base=${1:-${BASE_URL:-http://localhost:8080}}
base=${base%/}
second=${SECOND_URL:-}
second=${second%/}
admin=${ADMIN_URL:-$base}
admin=${admin%/}
token=${ADMIN_TOKEN:-}
read -ra options <<<"${CURL_OPTIONS:-}"
run=$$-$RANDOM

head=$(mktemp)
body=$(mktemp)
trap 'rm -f "$head" "$body"' EXIT

# ask METHOD URL [curl option ...]: sets $status, and leaves the answer in the files $head and $body.
ask() {
	local method=$1 url=$2
	shift 2
	asked="$method $url"
	[ "$method" != HEAD ] || set -- -I "$@"
	[ "$method" = HEAD ] || set -- -X "$method" "$@"
	: >"$head" >"$body"
	status=$(curl -gsS --max-time 30 ${options[@]+"${options[@]}"} -D "$head" -o "$body" -w '%{http_code}' "$@" "$url" 2>"$body.err") ||
		status="nothing: $(cat "$body.err")"
	rm -f "$body.err"
}

# field NAME: its value in the last answer.
field() { sed -n "s/^$1: *//Ip" "$head" | tr -d '\r' | tail -n 1; }

# The three ways to say what was wanted. WHAT completes the line "ok  METHOD URL  WHAT".
want_status() { [ "$status" = "$1" ] || fault "answers $status, not $1"; }
want_body() { grep -qF -- "$1" "$body" || fault "has no $1 in its body"; }
want_field() { [[ "$(field "$1")" == $2 ]] || fault "has $1: $(field "$1"), not $2"; }

ok() { printf 'ok    %-48s %s\n' "$asked" "${1:-}"; }
left_out() { printf '%-5s %-48s %s\n' - "$1" "$2"; }

fault() {
	printf 'FAULT %s\n      %s\n' "$asked" "$1" >&2
	sed 's/^/      | /; s/\r$//' "$head" >&2
	head -c 1000 "$body" | sed 's/^/      | /' >&2
	echo >&2
	exit 1
}

# until_ready URL: wait for its /readyz.
until_ready() {
	local end=$((SECONDS + ${WAIT:-30}))
	while ask GET "$1/readyz" && [ "$status" != 200 ]; do
		[ $SECONDS -lt $end ] || fault "answers $status for ${WAIT:-30} s"
		sleep 0.2
	done
	ok ready
}

operations() {
	until_ready "$base"
	ask GET "$base/livez" && want_status 200 && ok alive
	ask GET "$base/healthz" && want_status 200 && want_body '"service":"api-gateway-go"' && ok "$(grep -o '"healthy":[a-z]*' "$body" | sort | uniq -c | xargs)"
	ask GET "$base/" && want_status 200 && ok "$(field Content-Type)"
	ask HEAD "$base/healthz" && want_status 200 && ok
	ask GET "$base/nothing-is-here" && want_status 404 && want_field Content-Type 'application/json*' && ok "404 as JSON"
	ask POST "$base/healthz" && want_status 405 && want_field Allow '*GET*' && ok "405 with Allow"
}

inference() {
	local route
	for route in /infer/python /infer/node /infer; do
		ask POST "$base$route" -H 'Content-Type: application/json' -d "{\"prompt\":\"smoke $run\"}"
		want_status 200 && want_body "\"result\":\"echo: smoke $run\"" && ok "$(grep -o '"model":"[^"]*"' "$body")"
	done
	ask GET "$base/infer?prompt=smoke%20$run" && want_status 200 && want_body "echo: smoke $run" && ok
	ask GET "$base/slow" && want_status 200 && want_body '"path":"/slow"' && ok
	ask GET "$base/limited" && want_status 200 && want_body '"ok":true' && ok
}

openai() {
	local model question
	ask GET "$base/v1/models"
	if [ "$status" = 404 ]; then
		want_body '"error"' && ok "404 in OpenAI's shape: LLM_SERVICE_URL is not set"
		return
	fi
	want_status 200 && want_body '"data"' && ok
	model=$(grep -o '"id": *"[^"]*"' "$body" | head -n 1 | cut -d '"' -f 4)
	question="{\"model\":\"$model\",\"stream\":STREAM,\"messages\":[{\"role\":\"user\",\"content\":\"smoke\"}]}"
	ask POST "$base/v1/chat/completions" -H 'Content-Type: application/json' -d "${question/STREAM/false}"
	want_status 200 && want_body '"choices"' && ok "$model, whole"
	ask POST "$base/v1/chat/completions" -H 'Content-Type: application/json' -d "${question/STREAM/true}" -N
	want_status 200 && want_field Content-Type 'text/event-stream*' && want_body 'data: [DONE]' && ok "$model, $(grep -c '^data: ' "$body") events"
}

# A page of its own for each run: what was asked before does not matter.
page="/infer/python?prompt=cached-$run"

cached() {
	ask GET "$admin/cachez" && want_status 200 && want_body '"hit_ratio"'
	ok "$(grep -o '"backend":"[^"]*"' "$body")"
	caches=yes
	if grep -q '"enabled":false' "$body"; then
		caches=
		left_out cache "CACHE_ENABLED is false"
		return
	fi
	ask GET "$base$page" && want_status 200 && want_field X-Cache MISS && ok MISS
	ask GET "$base$page" && want_status 200 && want_field X-Cache HIT && want_field Age '[0-9]*' && ok "HIT, $(field Cache-Status)"
	ask HEAD "$base$page" && want_status 200 && want_field X-Cache HIT && ok "HIT"
	ask GET "$base$page" -H 'Cache-Control: no-store' && want_status 200 && want_field X-Cache '@(BYPASS|MISS)' && ok "$(field X-Cache), as the client wants"
}

purged() {
	[ -n "$caches" ] || return 0
	if [ "$admin" = "$base" ]; then
		ask DELETE "$base/cachez?path=/nothing" && want_status 401 && ok "401 without a token"
	fi
	if [ -z "$token" ] && [ "$admin" = "$base" ]; then
		left_out purge "ADMIN_TOKEN is not given"
		return
	fi
	purge "$page"
	ask GET "$base$page" && want_status 200 && want_field X-Cache MISS && ok "MISS after the purge"
}

# purge TARGET: drop it, as the operator.
purge() {
	ask DELETE "$admin/cachez" -G --data-urlencode "key=$1" ${token:+-H "Authorization: Bearer $token"}
	want_status 200 && ok "purged $1"
}

# A restart ends what memory holds; Redis still has it.
restarted() {
	if [ -z "${RESTART:-}" ] || [ -z "$caches" ]; then
		return 0
	fi
	local kept="/infer/python?prompt=kept-$run"
	ask GET "$base$kept" && want_status 200 && want_field X-Cache MISS && ok MISS
	sleep 1 # what is kept is written to Redis behind the answer
	ask GET "$base$kept" && want_status 200 && want_field X-Cache HIT && ok HIT
	local fetched before end
	fetched=$(field Date)
	ask GET "$base/healthz" && want_status 200
	before=$(uptime_ms)
	asked="restart: $RESTART"
	bash -c "$RESTART" >"$body" 2>&1 || fault "the command ends with $?"
	until_ready "$base"
	ask GET "$base/healthz" && want_status 200
	[ "$(uptime_ms)" -lt "$before" ] || fault "is as old as before: $(uptime_ms) ms"
	end=$((SECONDS + 5)) # Redis is connected to in the background
	while ask GET "$admin/cachez" && grep -q '"memory_trusted":false' "$body"; do
		[ $SECONDS -lt $end ] || fault "is without Redis for 5 s"
		sleep 0.1
	done
	ask GET "$base$kept" && want_status 200 && want_field X-Cache HIT
	want_field Date "$fetched" && ok "HIT after a restart, of $fetched"
}

uptime_ms() { grep -o '"uptime_ms":[0-9]*' "$body" | cut -d : -f 2; }

# What one gateway purges, the other must not answer from its memory. The host is part of what an answer is kept for, so
# both are asked for the same one.
coherent() {
	if [ -z "$second" ] || [ -z "$caches" ]; then
		return 0
	fi
	until_ready "$second"
	local shared="/infer/python?prompt=shared-$run" host="Host: smoke.example"
	ask GET "$base$shared" -H "$host" && want_status 200 && want_field X-Cache MISS && ok MISS
	sleep 1 # what is kept is written to Redis behind the answer
	ask GET "$second$shared" -H "$host" && want_status 200 && want_field X-Cache HIT && ok "HIT: the first one had it fetched"
	ask GET "$second$shared" -H "$host" && want_status 200 && want_field X-Cache HIT && ok "HIT, from its memory"
	if [ -z "$token" ] && [ "$admin" = "$base" ]; then
		left_out "coherence" "ADMIN_TOKEN is not given"
		return
	fi
	purge "$shared"
	sleep 1 # it hears of it by server push, in less than a millisecond where both are idle
	ask GET "$second$shared" -H "$host" && want_status 200 && want_field X-Cache MISS && ok "MISS: the first one purged it"
}

# flood URL N CLIENT: the status codes of N requests of one client on one connection, a line each.
flood() {
	curl -sS --max-time 60 ${options[@]+"${options[@]}"} -H "X-Forwarded-For: $3" -o /dev/null -w '%{http_code}\n' "$1/limited?[1-$2]"
}

limited() {
	ask GET "$base/limited" && want_status 200
	local policy burst client=203.0.113.$((RANDOM % 254 + 1))
	policy=$(field RateLimit-Policy)
	burst=$(sed -n 's/^"client";q=\([0-9]*\).*/\1/p' <<<"$policy")
	if [ -z "$burst" ]; then
		left_out limits "RATE_LIMIT_ENABLED is false"
		return
	fi
	if [ "$burst" -gt 1000 ]; then
		left_out limits "a burst of $burst is too many to send"
		return
	fi
	local rate window n
	window=$(sed -n 's/^"client";q=[0-9]*;w=\([0-9]*\).*/\1/p' <<<"$policy")
	rate=$((burst / ${window:-1000000}))
	n=$((burst * 3))
	if [ -n "$second" ]; then
		shared_limit "$burst" "$rate" "$client"
		return
	fi
	asked="GET $base/limited, $n times"
	local codes
	codes=$(flood "$base" $n "$client") || fault "curl fails"
	grep -q '^200$' <<<"$codes" || fault "nobody is let in: $(sort <<<"$codes" | uniq -c | xargs)"
	grep -q '^429$' <<<"$codes" || fault "nobody is refused, though the policy is $policy"
	ok "$(sort <<<"$codes" | uniq -c | awk '{ printf "%s %s times  ", $2, $1 }')"
	ask GET "$base/limited" -H "X-Forwarded-For: $client"
	if [ "$status" = 429 ]; then # a slow machine may have earned a token
		want_field Retry-After '[1-9]*' && want_field RateLimit-Scope '@(client|global)' && want_body too_many_requests
		ok "429, Retry-After: $(field Retry-After)"
	fi
}

# Both gateways together let in one burst and what the rate allows meanwhile; two that count alone would let in two.
shared_limit() {
	local burst=$1 rate=$2 client=$3 n=$(($1 * 3)) since=$(now_ms) codes admitted most
	asked="GET $base/limited and $second/limited, $n times each"
	codes=$(flood "$base" "$n" "$client" & flood "$second" "$n" "$client" & wait)
	admitted=$(grep -c '^200$' <<<"$codes" || true)
	local spent=$(($(now_ms) - since))
	most=$((burst + (rate + 1) * (spent + 200) / 1000 + burst / 10))
	[ "$admitted" -ge $((burst / 2)) ] || fault "$admitted are let in of a burst of $burst: $(sort <<<"$codes" | uniq -c | xargs)"
	[ "$admitted" -le "$most" ] || fault "$admitted are let in, more than $most: each gateway counts by itself"
	ok "$admitted let in within $spent ms, $most are allowed"
}

# Bash 5 knows more than whole seconds.
now_ms() {
	local now=${EPOCHREALTIME:-$SECONDS.000000}
	echo $((${now/./} / 1000))
}

metrics() {
	ask GET "$admin/metrics" && want_status 200
	want_body 'http_requests_total{route="/infer'
	want_body 'request_duration_seconds_bucket{route="/infer/python",le=' && want_body upstream_healthy && want_body build_info
	ok "$(grep -vc '^#' "$body") series"
}

shopt -s extglob
operations
inference
openai
cached
purged
metrics
coherent
restarted
limited
echo "all is well"
