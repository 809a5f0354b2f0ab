#!/usr/bin/env bash
# test.sh [step ...]: run test steps, every one of them without arguments, and sum them up at the end.
#
# A step is a function of its name (- for _) below. It ends well, fails, or gives up with `skip "why"` when something
# cannot be installed here. A failed step does not keep the others from running. With STRICT=1 what was left out (a step,
# a test, the race detector) counts as failed.
#
# Several steps run three at once (AT_ONCE=1: one after the other), because some wait for most of their time where others
# compute. What a step says is shown when it ends.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
logs=$root/.bin/log
mkdir -p "$logs"

# Those that take longest begin first. Allocations are counted at the end, when least else is going on.
steps=(test-format test-integration test-go test-direct test-vet lint test-fuzz-smoke test-stack test-python test-node test-scripts test-k6
	test-browser test-alloc)

test_format() {
	local unformatted
	unformatted=$(gofmt -s -l "${dirs[@]}")
	[ -z "$unformatted" ] || fail "gofmt would change (make fmt does):" $unformatted
}

test_vet() {
	go vet -tags=integration "${packages[@]}"
}

lint() {
	need staticcheck
	local failed=0
	.bin/staticcheck -tags=integration "${packages[@]}" || failed=1
	go mod tidy -diff || { failed=1 && echo "go.mod or go.sum is not tidy: go mod tidy makes it so"; }
	return $failed
}

# The first loop: no race detector, and no test that says it takes long.
test_short() {
	go_test -short -skip Alloc "${packages[@]}"
}

# Endurance: the tests of floods and the like at their whole length.
soak() {
	ready redis || why redis
	local failed=0
	go_test -p 1 -count=1 -timeout 60m -tags=soak "${packages[@]}" || failed=1
	go_test -count=1 -timeout 30m -tags=soak,integration -run 'SharedTokens' ./gateway/integration || failed=1
	return $failed
}

# The allocation tests wait for test-alloc: under -race everything allocates.
test_go() {
	with_race
	ready redis || why redis # tests that need it skip by name
	go_test -timeout 30m "${race[@]}" -skip Alloc "${packages[@]}"
}

# Linux reads and writes its sockets another way without the race detector (gateway/wire/direct_linux.go).
test_direct() {
	go_test -skip Alloc ./gateway/wire ./gateway/proxy ./gateway/behaviour
}

test_alloc() {
	go_test -p 1 -count=1 -run Alloc "${packages[@]}"
}

# Go fuzzes one target of one package at a time. Here each package is built once, and as many targets run at once as there are
# processors, with a worker each. An input that reaches something new is not made smaller: Go would give that a minute.
test_fuzz_smoke() {
	local import dir binary target targets=() cache
	cache=$(go env GOCACHE)/fuzz
	mkdir -p .bin/fuzz
	while read -r import dir; do
		grep -qs '^func Fuzz' "$dir"/*_test.go || continue
		binary=$root/.bin/fuzz/${import//\//-}.test
		go test -c -fuzz=. -o "$binary" "$import"
		for target in $(cd "$dir" && "$binary" -test.list '^Fuzz'); do
			targets+=("$dir" "$binary" "$target" "$cache/$import")
		done
	done < <(go list -f '{{.ImportPath}} {{.Dir}}' "${packages[@]}")
	export logs
	export -f fuzz
	printf '%s\0' "${targets[@]}" | xargs -0 -n 4 -P "$(getconf _NPROCESSORS_ONLN)" bash -c 'fuzz "$@"' fuzz
}

# fuzz DIR BINARY TARGET CACHE
fuzz() {
	local log=$logs/fuzz-$(basename "$2" .test)-$3.log
	mkdir -p "$4"
	cd "$1"
	if "$2" -test.run '^$' -test.fuzz "^$3\$" -test.fuzztime "${FUZZTIME:-3s}" -test.fuzzminimizetime 1x -test.parallel 1 \
		-test.fuzzcachedir "$4" >"$log" 2>&1 ||
		# golang/go#75804, mended in Go 1.27: the end of -fuzztime may be reported as a failure that no input caused.
		{ grep -q '^ *context deadline exceeded$' "$log" && ! grep -qE 'Failing input|panic|_test\.go:' "$log"; }; then
		echo "$(basename "$2" .test) $3: $(grep -o 'execs: [0-9]*' "$log" | tail -n 1)"
		return 0
	fi
	cat "$log"
	return 1
}

test_python() {
	need python
	cd backends/python
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python -m pytest -q -rs
}

test_node() {
	need node
	cd backends/node
	npm run --silent lint
	npm test --silent
}

# The scripts have no settings of their own: those of the Python backend are the house's.
test_scripts() {
	local script
	for script in scripts/*.sh; do bash -n "$script"; done
	need python
	local bin=backends/python/.venv/bin
	"$bin/ruff" check --config backends/python/pyproject.toml scripts
	"$bin/ruff" format --config backends/python/pyproject.toml --check scripts
	"$bin/python" -m pytest -q -rs --rootdir scripts -p no:cacheprovider scripts/tests
}

# k6 itself takes minutes to build the first time, so the profiles are read by k6 where it is there already, and by node, which
# sees their syntax only, where it is not.
test_k6() {
	need node
	local profile
	node --test --test-reporter=spec bench/k6/lib/*.test.js
	for profile in bench/k6/*.js bench/k6/lib/*.js; do node --check "$profile"; done
	if [ ! -x .bin/k6 ]; then
		echo "the profiles are checked for their syntax only: make .bin/k6 builds k6, which checks their options too"
		return 0
	fi
	for profile in bench/k6/*.js; do
		.bin/k6 inspect "$profile" >"$logs/k6-inspect.json" || fail "$profile: k6 cannot read it"
		K6_QUICK=1 .bin/k6 inspect --include-system-env-vars "$profile" >"$logs/k6-inspect.json" ||
			fail "$profile: k6 cannot read it with K6_QUICK=1"
	done
}

# Kustomize and the types of Kubernetes are a hundred packages, built in about a minute where no earlier build is kept. They
# have a module of their own, so that the gateway does not. promtool comes with Debian's prometheus; without it the tests
# of Prometheus' files skip by name.
test_stack() {
	ready promtool || why promtool
	cd scripts/tools/stack
	go_test -count=1 ./... # the files under test lie outside of this module, where go test does not see them change
}

# What the tests read from the environment; what is unset could not be installed, and the tests that need it skip by name.
#   AIGATEWAY_PYTHON    the Python of backends/python's venv, as an absolute path
#   AIGATEWAY_NODE_DIR  backends/node with its modules installed, as an absolute path; node itself is in the PATH
test_integration() {
	[ -d gateway/integration ] || skip "gateway/integration is not there"
	with_race
	unset AIGATEWAY_PYTHON AIGATEWAY_NODE_DIR
	ready redis || why redis
	if ready python; then export AIGATEWAY_PYTHON=$root/backends/python/.venv/bin/python; else why python; fi
	if ready node; then export AIGATEWAY_NODE_DIR=$root/backends/node; else why node; fi
	go_test -count=1 -timeout 30m "${race[@]}" -tags=integration ./gateway/integration/...
}

# ready PART: scripts/setup.sh has PART in place now; if not, `why PART` says so in a line.
ready() { (cd "$root" && scripts/setup.sh "$1") >"$logs/$step.ready-$1"; }
why() { cat "$logs/$step.ready-$1"; }
need() { ready "$1" || skip "$(why "$1")"; }

# The dashboard, and a page of another origin that chats, in a real browser, if there is one: nobody needs a browser to run a
# gateway, so none is installed.
test_browser() {
	with_browser
	node page.js
	node dashboard.js
}

# with_browser goes where the tests in a browser are, with all that they need.
with_browser() {
	need browser
	make -s build
	cd scripts/tools/browser
	export GATEWAY=$root/.bin/gateway CHROMIUM
	CHROMIUM=$(command -v chromium)
}

# The dashboard under load, looked at for LASTS seconds: do its charts show what /metrics says?
browser_soak() {
	with_browser
	node soak.js "${LASTS:-300}"
}

# The pictures of the dashboard that the pages of this repository show, taken by its test; a few minutes.
pictures() {
	with_browser
	node dashboard.js "$root/gateway/ops/dashboard"
}

# with_race sets the array race to what go test is given for the race detector.
with_race() {
	race=(-race)
	ready cc && return 0
	race=()
	echo "without the race detector ($(why cc))" | tee -a "$logs/$step.note"
}

skip() {
	echo "skipped: $1"
	echo "$1" >"$logs/$step.skip"
	exit 77
}

fail() {
	printf '%s\n' "$@"
	exit 1
}

# go_test ARGUMENT...: go test, a line for each package, each skipped test and each fault of the compiler as they come; then
# what was said in the packages that failed, if any.
go_test() {
	local log=$logs/$step.log
	go test -v "$@" 2>&1 | tee "$log" | awk '
		/^(ok|FAIL)[ \t]|^(# |vet: |[^ ]+\.go:[0-9]+:[0-9]+: )/ { print; fflush() }
		/^=== (RUN|NAME|CONT)/       { test = $3 }
		/^ *[A-Za-z0-9_]+_test\.go:/ { said[test] = $0; sub(/^ +/, ": ", said[test]) }
		/^ *--- SKIP/                { print "skipped " $3 said[$3]; fflush() }' && return 0
	awk '
		/^ *(=== |--- (PASS|SKIP)|PASS$)/ { next }
		                                  { said = said $0 "\n" }
		/^FAIL\t/                         { printf "%s", said }
		/^(ok|FAIL|\?)[ \t]/              { said = "" }
		END                               { printf "%s", said }' "$log"
	return 1
}

# Where Go code is: `./...` would also find what npm brings along in backends/node.
dirs=()
packages=()
for dir in gateway bench; do
	if [ -n "$(find "$dir" -name '*.go' -print -quit 2>/dev/null)" ]; then
		dirs+=("$dir")
		packages+=("./$dir/...")
	fi
done

# run: does $step and keeps what became of it, for the summary and for all, in $logs/$step.end.
run() {
	local since=$SECONDS code skips outcome=ok note=
	echo "== $step"
	# A subshell: a step may change directory, and `exit` ends only it. Not after `if`: that would switch `set -e` off in it.
	set +e
	(set -e; "${step//-/_}")
	code=$?
	set -e
	if skips=$(grep -cs -e '^ *--- SKIP' "$logs/$step.log"); then
		echo "tests skipped: $skips, named above" >>"$logs/$step.note"
	fi
	if [ $code = 77 ] && [ -f "$logs/$step.skip" ]; then
		outcome=skipped
		mv "$logs/$step.skip" "$logs/$step.note"
	elif [ $code != 0 ]; then
		outcome=FAILED
	fi
	[ ! -f "$logs/$step.note" ] || note=$(paste -sd ';' "$logs/$step.note")
	printf '%-8s %-17s %4ss  %s\n' "$outcome" "$step" $((SECONDS - since)) "$note" >"$logs/$step.end"
}

# lane: does steps that nobody does yet, and says what they said, each as a whole.
lane() {
	for step in "${steps[@]}"; do
		mkdir "$logs/$step.begun" 2>/dev/null || continue
		run >"$logs/$step.said" 2>&1
		until mkdir "$logs/speaking" 2>/dev/null; do sleep 0.1; done
		cat "$logs/$step.said"
		rmdir "$logs/speaking"
	done
}

[ $# -gt 0 ] && steps=("$@")
rmdir "$logs/speaking" 2>/dev/null || true
for step in "${steps[@]}"; do
	rm -rf "$logs/$step".{begun,end,skip,note,log}
done
if [ ${#steps[@]} = 1 ]; then
	run
else
	set -m # a group of processes for each lane: it ends with all that it has begun
	lanes=()
	trap 'for group in "${lanes[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done; exit 130' INT TERM
	for ((n = 0; n < ${AT_ONCE:-3}; n++)); do
		lane &
		lanes+=($!)
	done
	wait "${lanes[@]}"
fi
echo "== summary"
bad=0
for step in "${steps[@]}"; do
	cat "$logs/$step.end" || bad=1
	grep -qs '^FAILED' "$logs/$step.end" && bad=1
	[ -f "$logs/$step.note" ] && [ "${STRICT:-}" = 1 ] && bad=1
done
exit $bad
