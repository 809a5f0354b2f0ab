#!/usr/bin/env bash
# setup.sh [part ...]: install what the tests need beside Go; without arguments every part but browser, which is for one test.
#
# A part is a function setup_<part> below. It does nothing when all is in place, installs into this tree (.bin, .venv,
# node_modules), takes Debian packages only as root, and ends with `cannot "why"` when it has to give up. One line a part
# goes to stdout: "<part>: ready" or "<part>: <why not>"; the exit code is 1 if any part is not ready.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
logs=$root/.bin/log
mkdir -p "$logs"

parts=(cc staticcheck redis promtool python node)

# The race detector needs cgo, and cgo a C compiler.
setup_cc() {
	have cc || have gcc || apt_install gcc libc6-dev || cannot "no C compiler, and gcc cannot be installed ($why)"
}

setup_staticcheck() {
	"${MAKE:-make}" -s .bin/staticcheck || cannot "staticcheck cannot be built from scripts/tools"
}

# Debian starts the server that it installs; the tests start their own, on a port of their own.
setup_redis() {
	have redis-server || RUNLEVEL=1 apt_install redis-server || cannot "no redis-server, and it cannot be installed ($why)"
}

# promtool checks Prometheus' configuration and rules. Debian has it in the package of the server, which need not run.
setup_promtool() {
	have promtool || RUNLEVEL=1 apt_install prometheus || cannot "no promtool, and prometheus cannot be installed ($why)"
}

setup_python() {
	[ -d backends/python ] || cannot "backends/python is missing"
	cd backends/python
	local venv=.venv stamp
	have python3 || apt_install python3 python3-venv || cannot "no python3, and it cannot be installed ($why)"
	# The stamp is the wish: another Python or other requirements make another venv.
	stamp=$(python3 --version && cat requirements*.txt)
	if "$venv/bin/python" -c '' 2>/dev/null && [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ]; then
		return 0
	fi
	rm -rf "$venv"
	if ! python3 -m venv "$venv"; then # Debian keeps ensurepip in a package of its own
		apt_install python3-venv || cannot "python3 has no venv module, and python3-venv cannot be installed ($why)"
		rm -rf "$venv"
		python3 -m venv "$venv" || cannot "python3 -m venv fails"
	fi
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt ||
		cannot "pip cannot install backends/python/requirements-dev.txt"
	echo "$stamp" >"$venv/.stamp"
}

setup_node() {
	[ -d backends/node ] || cannot "backends/node is missing"
	cd backends/node
	local stamp
	have node || apt_install nodejs || cannot "no node, and it cannot be installed ($why)"
	have npm || apt_install npm || cannot "no npm, and it cannot be installed ($why)"
	stamp=$(node --version && cat package.json package-lock.json)
	if [ "$(cat node_modules/.stamp 2>/dev/null)" = "$stamp" ]; then
		return 0
	fi
	npm ci --no-audit --no-fund || cannot "npm ci fails in backends/node"
	echo "$stamp" >node_modules/.stamp
}

# For `make peers` alone, and so not among the parts of a setup without arguments. What Debian would start, it does not.
setup_peers() {
	local package missing=()
	for package in nginx haproxy varnish varnish-modules caddy trafficserver; do
		[ -e "/usr/share/doc/$package" ] || RUNLEVEL=1 apt_install "$package" || missing+=("$package")
	done
	[ ${#missing[@]} = 0 ] || cannot "cannot be installed: ${missing[*]} ($why)"
}

setup_browser() {
	cd scripts/tools/browser
	have chromium || cannot "no chromium; on Debian: apt-get install chromium"
	have npm || cannot "no npm"
	local stamp
	stamp=$(node --version && cat package.json package-lock.json)
	if [ "$(cat node_modules/.stamp 2>/dev/null)" = "$stamp" ]; then
		return 0
	fi
	npm ci --no-audit --no-fund || cannot "npm ci fails in scripts/tools/browser"
	echo "$stamp" >node_modules/.stamp
}

have() { command -v "$1" >/dev/null; }

cannot() {
	echo "$1" >"$logs/why-$part"
	exit 1
}

# apt_install PACKAGE...: sets $why when it returns 1.
apt_install() {
	why="no apt-get here"
	have apt-get || return 1
	why="not root"
	[ "$(id -u)" = 0 ] || return 1
	why="apt-get fails"
	local install=(apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "$@")
	export DEBIAN_FRONTEND=noninteractive
	"${install[@]}" || { apt-get update -q && "${install[@]}"; }
}

# alone PART: nobody else sets up this part, until `together PART`. Who died over it is not waited for.
alone() {
	until mkdir "$logs/setup-$1" 2>/dev/null; do
		kill -0 "$(cat "$logs/setup-$1/pid" 2>/dev/null || echo $$)" 2>/dev/null || rm -rf "$logs/setup-$1"
		sleep 0.1
	done
	echo $$ >"$logs/setup-$1/pid"
}
together() { rm -rf "$logs/setup-$1"; }

[ $# -gt 0 ] && parts=("$@")
missing=0
for part in "${parts[@]}"; do
	log=$logs/setup-$part.log
	alone "$part"
	rm -f "$logs/why-$part"
	# A subshell: a part may change directory, and `exit` ends only it. Not after `if`: that would switch `set -e` off in it.
	set +e
	(set -e; "setup_$part") >"$log" 2>&1
	code=$?
	set -e
	together "$part"
	if [ $code = 0 ]; then
		echo "$part: ready"
	else
		missing=1
		tail -n 5 "$log" | sed 's/^/    /' >&2
		echo "$part: $(cat "$logs/why-$part" 2>/dev/null || echo "setup_$part fails, see .bin/log/setup-$part.log")"
	fi
done
exit $missing
