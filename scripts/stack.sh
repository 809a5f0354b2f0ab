# stack.sh, sourced: start and end what a load test needs. Every process is this shell's own and is ended by its id, the last
# one first, when the shell ends. Logs are in .bin/log/stack-<name>.log. The caller runs under set -euo pipefail, at the root.
#
#   start_gateway [NAME=VALUE ...]   sets gateway (URL) and gateway_pid; what the settings do not name is simulated in the process.
#                                    gateway_config is its configuration file, if there is one
#   start_python                     sets python (URL): the real FastAPI service
#   start_node                       sets node (URL): the real Express service
#   start_redis                      sets redis (host:port): an empty Redis that writes nothing to disk
#   follow COMMAND...                runs the command, and ends it too when the shell is told to end
#   stop_all                         ends all of them

stack_logs=$PWD/.bin/log
stack_pids=()
mkdir -p "$stack_logs"
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

die() {
	printf '%s\n' "$@" >&2
	exit 1
}

# spawn NAME COMMAND...: starts it in the background and sets spawned.
spawn() {
	local log=$stack_logs/stack-$1.log
	shift
	: >"$log" # now: the child may open it after somebody has read in it what the run before said
	"$@" >"$log" 2>&1 </dev/null &
	spawned=$!
	stack_pids+=("$spawned")
}

# A shell that waits for a command in the foreground acts on a signal only when that has ended.
follow() {
	local code=0
	"$@" &
	stack_pids+=("$!")
	wait "$!" || code=$?
	unset 'stack_pids[-1]'
	return $code
}

stop_all() {
	local pid i
	for ((i = ${#stack_pids[@]} - 1; i >= 0; i--)); do
		pid=${stack_pids[i]}
		kill "$pid" 2>/dev/null || continue
		wait "$pid" 2>/dev/null || true
	done
	stack_pids=()
}

# eventually NAME PID COMMAND...: until the command succeeds, for 15 s at most and no longer than the process lives.
eventually() {
	local name=$1 pid=$2 end=$((SECONDS + 15))
	shift 2
	until "$@" 2>/dev/null; do
		kill -0 "$pid" 2>/dev/null || die "$name ended at once:" "$(tail -n 5 "$stack_logs/stack-$name.log")"
		[ $SECONDS -lt $end ] || die "$name is not ready after 15 s:" "$(tail -n 5 "$stack_logs/stack-$name.log")"
		sleep 0.1
	done
}

# free_port sets port to one below the kernel's own choices that nobody listens on. Somebody may take it before we do; then the
# process that wanted it says so and ends.
free_port() {
	while :; do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
	done
}

start_gateway() {
	[ -x .bin/gateway ] || die ".bin/gateway is missing: make build"
	free_port
	spawn gateway env PORT="$port" "$@" .bin/gateway -demo -visitors=false ${gateway_config:+-config "$gateway_config"}
	gateway=http://127.0.0.1:$port
	gateway_pid=$spawned
	eventually gateway "$gateway_pid" curl -fsS -o "$stack_logs/stack-ready" "$gateway/readyz"
}

# A backend takes a free port itself and names it in the first line of its log.
listening() {
	backend_port=$(sed -n '/"msg": *"listening"/s/.*"port": *\([0-9]*\).*/\1/p' "$stack_logs/stack-$1.log")
	[ -n "$backend_port" ]
}

start_python() {
	scripts/setup.sh python || die "without the Python service: K6_BACKENDS=demo simulates it"
	spawn python env -C backends/python HOST=127.0.0.1 PORT=0 ACCESS_LOG=false .venv/bin/python -m app
	eventually python "$spawned" listening python
	python=http://127.0.0.1:$backend_port
}

start_node() {
	scripts/setup.sh node || die "without the Node service: K6_BACKENDS=demo simulates it"
	spawn node env -C backends/node HOST=127.0.0.1 PORT=0 ACCESS_LOG=false node src/server.js
	eventually node "$spawned" listening node
	node=http://127.0.0.1:$backend_port
}

start_redis() {
	scripts/setup.sh redis || die "without Redis there is nothing to measure"
	free_port
	spawn redis redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$stack_logs"
	redis=127.0.0.1:$port
	eventually redis "$spawned" redis-cli -p "$port" ping
}
