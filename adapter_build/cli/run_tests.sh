#!/usr/bin/env bash
# Every test, in two runs at once that take about as long: those that start a Docker Engine or a Slurm mostly wait, and
# attacks are tried beside them. Options are pytest's.
set -uo pipefail

none_selected=5 # pytest's exit code
log=logs/test-services.log
beside="containers or cluster or attacks"
mkdir -p logs

"$RUN/python" -m pytest -m "$beside" "$@" >"$log" 2>&1 &
services=$!
trap 'kill "$services"' INT TERM
"$RUN/python" -m pytest -m "not ($beside)" "$@"
code=$?
wait "$services"
services_code=$?
cat "$log"
for result in "$code" "$services_code"; do
    [ "$result" = 0 ] || [ "$result" = "$none_selected" ] || exit "$result"
done
