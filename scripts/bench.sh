#!/usr/bin/env bash
# bench.sh: run the Go benchmarks, keep what they said, show it through benchstat.
#
#   BENCH      which ones, a regular expression (.)
#   COUNT      how often each; benchstat wants 6 to be 95 % sure (6)
#   BENCHTIME  how long each (200ms)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
report=bench/reports/go-bench.txt
packages=()
for dir in gateway bench; do
	[ -n "$(find "$dir" -name '*.go' -print -quit 2>/dev/null)" ] && packages+=("./$dir/...")
done

mkdir -p bench/reports
echo "== bench"
# -timeout 0: a long run is asked for, not a fault.
go test -run '^$' -bench "${BENCH:-.}" -benchmem -count "${COUNT:-6}" -benchtime "${BENCHTIME:-200ms}" -timeout 0 \
	"${packages[@]}" | tee "$report.new"
# Only a whole run counts, and the one before stays for `make bench-stat`.
[ -f "$report" ] && mv "$report" "${report%.txt}.old.txt"
mv "$report.new" "$report"

echo "== benchstat $report"
"${MAKE:-make}" -s .bin/benchstat || { echo "benchstat cannot be built from scripts/tools" && exit 0; }
.bin/benchstat "$report"
