#!/usr/bin/env bash
# run.sh [guidellm | aiperf ...]: install load generators that others have made and run each against the gateway, with the checks
# they make by default. Both without arguments. The exit code is 0 when no request of either failed.
#
#   BASE_URL     the gateway to load; without it, one is built and started with simulated engines
#   MODEL        whom to ask; without it guidellm takes the first that is listed, as it does, and aiperf, which must be told, sim-llm
#   REQUESTS     how many (40), by STREAMS at once (4)
#   CLIENTS_DIR  where they are installed (.bin/clients); guidellm needs PyTorch and takes 6 GB, aiperf half a gigabyte
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
requests=${REQUESTS:-40} streams=${STREAMS:-4}
dir=${CLIENTS_DIR:-$PWD/.bin/clients}
out=$dir/out
mkdir -p "$out"
. scripts/stack.sh

# install NAME: into an environment of its own, for the two want different versions of the same things.
install() {
	[ -e "$dir/$1/installed" ] && return 0
	echo "== $1 is installed into $dir/$1"
	[ -x "$dir/uv/bin/uv" ] || { python3 -m venv "$dir/uv" && "$dir/uv/bin/pip" install --quiet uv; }
	rm -rf "${dir:?}/$1"
	"$dir/uv/bin/uv" venv --quiet "$dir/$1"
	UV_HTTP_TIMEOUT=300 "$dir/uv/bin/uv" pip install --quiet --python "$dir/$1/bin/python" \
		-r bench/clients/requirements.txt "$(grep "^$1==" bench/clients/versions.txt)" || die "$1 cannot be installed"
	touch "$dir/$1/installed"
}

# Both count tokens with a tokenizer of their own; this one is trained here, in a second.
tokenizer() {
	[ -e "$dir/tokenizer/tokenizer.json" ] || "$dir/$1/bin/python" bench/clients/tokenizer.py "$dir/tokenizer"
}

run_guidellm() {
	rm -f "$out/guidellm.json"
	# Its own checks: GET /health, and /v1/models unless it is told whom to ask.
	HF_HUB_OFFLINE=1 follow "$dir/guidellm/bin/guidellm" run --disable-progress \
		--backend "kind=openai_http,target=$gateway${MODEL:+,model=$MODEL}" \
		--profile "kind=concurrent,streams=$streams" --constraint "kind=max_requests,count=$requests" \
		--tokenizer "kind=huggingface_auto,model=$dir/tokenizer" \
		--data kind=synthetic_text,prompt_tokens=64,output_tokens=16 --data-loader "kind=pytorch,samples=$((2 * requests))" \
		--output "kind=json,path=$out/guidellm.json" >"$out/guidellm.txt" 2>&1 || die "guidellm failed:" "$(tail -n 20 "$out/guidellm.txt")"
	"$dir/guidellm/bin/python" bench/clients/outcome.py guidellm "$out/guidellm.json" "$requests"
}

# Not offline: it would then look a local tokenizer up as if it were one of a hub. It asks none for one that is a directory.
run_aiperf() {
	rm -rf "$out/aiperf"
	follow "$dir/aiperf/bin/aiperf" profile --ui-type none --output-artifact-dir "$out/aiperf" \
		--url "$gateway" -m "${MODEL:-sim-llm}" --endpoint-type chat --streaming --wait-for-model-timeout 30 --wait-for-model-mode both \
		--tokenizer "$dir/tokenizer" --request-count "$requests" --concurrency "$streams" \
		--synthetic-input-tokens-mean 64 --output-tokens-mean 16 >"$out/aiperf.txt" 2>&1 || die "aiperf failed:" "$(tail -n 20 "$out/aiperf.txt")"
	"$dir/aiperf/bin/python" bench/clients/outcome.py aiperf "$out/aiperf/profile_export_aiperf.json" "$requests"
}

[ $# -gt 0 ] || set -- guidellm aiperf
for name in "$@"; do
	grep -q "^$name==" bench/clients/versions.txt || die "usage: bench/clients/run.sh [guidellm | aiperf ...]"
	install "$name"
	tokenizer "$name"
done
gateway=${BASE_URL:-}
if [ -z "$gateway" ]; then
	"${MAKE:-make}" -s build
	start_gateway RATE_LIMIT_ENABLED=false ACCESS_LOG=true
fi
for name in "$@"; do
	echo "== $name against $gateway"
	"run_$name"
done
if [ -z "${BASE_URL:-}" ]; then
	echo "== what they asked for"
	"$dir/$1/bin/python" bench/clients/outcome.py asked "$stack_logs/stack-gateway.log"
fi
