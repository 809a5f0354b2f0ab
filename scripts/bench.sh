#!/usr/bin/env bash
# bench.sh [compare|baseline]: run the Go benchmarks, keep what they said, show it through benchstat.
#
#   compare    against bench/reports/baseline.txt, and fail if a benchmark allocates more than it did there
#   baseline   becomes bench/reports/baseline.txt
#
#   BENCH      which ones, a regular expression (.)
#   COUNT      how often each; benchstat wants 6 to be 95 % sure (6)
#   BENCHTIME  how long each (200ms)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
report=bench/reports/go-bench.txt
baseline=bench/reports/baseline.txt
packages=()
for dir in gateway bench; do
	[ -n "$(find "$dir" -name '*.go' -print -quit 2>/dev/null)" ] && packages+=("./$dir/...")
done

# Times are compared by people: a shared machine is slow for many reasons. Allocations are exact, but for what one run in
# many allocates: the least of the new ones must not be above the most of the old ones.
allocations() {
	awk '
		!/^Benchmark/ || !/allocs\/op/ { next }
		{
			name = $1
			sub(/-[0-9]+$/, "", name) # the number of cores
			for (i = 2; i <= NF; i++) if ($i == "allocs/op") n = $(i-1)
		}
		FNR == NR { if (!(name in old) || n > old[name]) old[name] = n; next }
		          { if (!(name in new) || n < new[name]) new[name] = n }
		END {
			for (name in new) {
				if (!(name in old)) { print "new, not in the baseline: " name; continue }
				seen++
				if (new[name] > old[name]) { print "ALLOCATES MORE: " name ": " old[name] " -> " new[name] " allocs/op"; bad = 1 }
			}
			print seen + 0 " benchmarks compared"
			exit bad || !seen
		}' "$1" "$2"
}

case "${1:-}" in
"" | baseline) ;;
compare) [ -f "$baseline" ] || { echo "there is no $baseline: make bench-baseline makes one" && exit 1; } ;;
*) echo "bench.sh: compare, baseline or nothing, not \"$1\"" && exit 2 ;;
esac

mkdir -p bench/reports
echo "== bench"
# -timeout 0: a long run is asked for, not a fault.
go test -run '^$' -bench "${BENCH:-.}" -benchmem -count "${COUNT:-6}" -benchtime "${BENCHTIME:-200ms}" -timeout 0 \
	"${packages[@]}" | tee "$report.new"
# Only a whole run counts, and the one before stays for `make bench-stat`.
[ -f "$report" ] && mv "$report" "${report%.txt}.old.txt"
mv "$report.new" "$report"

benchstat() {
	echo "== benchstat $*"
	"${MAKE:-make}" -s .bin/benchstat || { echo "benchstat cannot be built from scripts/tools" && return; }
	.bin/benchstat "$@"
}

case "${1:-}" in
baseline)
	cp "$report" "$baseline"
	benchstat "$baseline"
	;;
compare)
	benchstat "$baseline" "$report"
	echo "== allocations"
	allocations "$baseline" "$report"
	;;
*) benchstat "$report" ;;
esac
