#!/usr/bin/env bash
# reports.sh [REPORT ...]: measure the reports of reports.txt anew, or only these, run by run. A report is written after each run and
# whole at the end; who began it begins it anew, unless ADD=1 adds to what is there.
#
#   UNDER   a command that runs another one while nothing else is measured on the machine, such as "flock /tmp/quiet"
#   ADD     1: add to the reports that are there, if they are of the same gateway
#   TIMES   how often everything is measured, in place of the times of the file
#   ONLY    only parts with this cell
#   OUT     where the reports go (bench/reports/field)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${OUT:-bench/reports/field}
parts=$(sed -e 's/#.*//' -e '/^ *$/d' bench/field/reports.txt)
known=$(awk '!seen[$1]++ { print $1 }' <<<"$parts")
[ $# -gt 0 ] || set -- $known
for report in "$@"; do
	grep -qx -- "$report" <<<"$known" || { echo "there is no report $report; there are" $known >&2; exit 2; }
done

failed=0
measure() { # REPORT TIME WHO WHAT
	local dir=$out
	[ "$1" = field ] || dir=$out/$1
	echo "== $1: $3: $4"
	${UNDER:-} .bin/fieldbench -add -rounds 1 -time "$2" -peers "$3" -cells "$4" -out "$dir" </dev/null || failed=1
}

for report in "$@"; do
	dir=$out
	[ "$report" = field ] || dir=$out/$report
	if [ -z "${ADD:-}" ]; then rm -f "$dir"/*.svg "$dir"/field.json "$dir"/field.md; fi
	for turn in 1 2 3 4 5 6 7 8 9; do
		while read -r name times time who what; do
			[ "$name" = "$report" ] && [ "$turn" -le "${TIMES:-$times}" ] || continue
			[ -z "${ONLY:-}" ] || [[ ,$what, == *,$ONLY,* ]] || continue
			case $who in
				each:*) for one in $(tr , ' ' <<<"${who#each:}"); do measure "$name" "$time" "$one" "$what"; done ;;
				*) measure "$name" "$time" "$who" "$what" ;;
			esac
		done <<<"$parts"
	done
done
exit $failed
