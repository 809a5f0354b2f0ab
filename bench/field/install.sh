#!/usr/bin/env bash
# install.sh [NAME ...]: bring who is measured beside the gateway into one directory, at the versions of versions.txt; without
# arguments all of them. Nothing is started. A line for each says whether it is there; who cannot be installed is named, and why,
# and does not keep the others away. The exit code is 1 only if a name is unknown.
#
#   FIELD_DIR  where (.bin/field); the LiteLLM proxy takes most of the gigabyte
#   PYTHON     for those that are written in it (python3)
#
# Where packages come from is for pip, npm and go to know.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dir=${FIELD_DIR:-$PWD/.bin/field}
python=${PYTHON:-python3}
here=bench/field
mkdir -p "$dir/bin" "$dir/log"

# Each of these installs $package for $name, ends with a status, and leaves a program in $dir/bin.

# Debian's nginx and HAProxy start when they are installed; here they must not.
install_debian() {
	local file
	PATH=$PATH:/usr/sbin
	if ! command -v "$package"; then
		[ "$(id -u)" = 0 ] || { echo "not installed, and only root may install it"; return 1; }
		local get=(apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "$package")
		RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive "${get[@]}" || { apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive "${get[@]}"; }
	fi
	file=$(command -v "$package") && ln -sfn "$file" "$dir/bin/$name"
}

install_go() { GOBIN=$dir/bin nice go install "$package"; }

# Each has an environment of its own, for they want different versions of the same things.
install_python() {
	rm -rf "${dir:?}/$name"
	"$python" -m venv "$dir/$name" &&
		nice "$dir/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$package" &&
		ln -sfn "../$name/bin/$name" "$dir/bin/$name"
}

install_node() {
	mkdir -p "$dir/$name" && cd "$dir/$name" && echo '{"private":true}' >package.json &&
		nice npm install --silent --no-audit --no-fund --ignore-scripts "$package" && [ -e "node_modules/${package%@*}" ] &&
		printf '#!/bin/sh\nexec node "%s/node_modules/%s/build/start-server.js" "$@"\n' "$dir/$name" "${package%@*}" >"$dir/bin/$name" &&
		chmod +x "$dir/bin/$name"
}

wanted() { awk -v n="$1" '$1 == n' $here/versions.txt; }

[ $# -gt 0 ] || set -- $(awk '!/^#/ && NF { print $1 }' $here/versions.txt)
for name in "$@"; do
	[ -n "$(wanted "$name")" ] || { echo "there is no $name in $here/versions.txt" >&2; exit 1; }
done
for name in "$@"; do
	read -r _ from package < <(wanted "$name")
	if [ "$(cat "$dir/$name.version" 2>/dev/null)" = "$package" ] && [ -x "$dir/bin/$name" ]; then
		echo "$name: there ($package)"
	elif (set -e; "install_$from") >"$dir/log/$name" 2>&1; then
		echo "$package" >"$dir/$name.version"
		echo "$name: installed ($package)"
	else
		echo "$name: skipped, $package cannot be installed: $(grep -v '^$' "$dir/log/$name" | tail -n 1 | cut -c 1-200)"
	fi
done
