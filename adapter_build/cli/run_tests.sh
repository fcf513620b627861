#!/usr/bin/env bash
# Tests in two runs at once, so that two processors are used and one run computes while the other waits:
#     run_tests.sh WHICH BESIDE [OPTION…]
# WHICH tests by their marks, of which those marked BESIDE are the second run. Options are pytest's.
set -uo pipefail

which=$1 beside=$2
shift 2
none_selected=5 # pytest's exit code
name=${beside// /-} # of this call: make test and make test-services may run at once
log=logs/tests-$name.log
export SKIPS_FILE=$PWD/logs/skipped-$name
mkdir -p logs
: >"$SKIPS_FILE"

"$RUN/python" -m pytest -m "($which) and ($beside)" "$@" >"$log" 2>&1 &
second=$!
trap 'kill "$second"' INT TERM
"$RUN/python" -m pytest -m "($which) and not ($beside)" "$@"
first_code=$?
wait "$second"
second_code=$?
cat "$log"
"$RUN/python" tests/support/skipped.py "$SKIPS_FILE"
for code in "$first_code" "$second_code"; do
    [ "$code" = 0 ] || [ "$code" = "$none_selected" ] || exit "$code"
done
if [ -n "${COVERAGE:-}" ]; then
    env -u COVERAGE_PROCESS_START -u PYTHONPATH .venvs/checks/bin/python tests/measured/share.py logs/coverage.txt "$@"
fi
