#!/usr/bin/env bash
# Tests in two runs at once, so that two processors are used and one run computes while the other waits:
#     run_tests.sh WHICH BESIDE [OPTION…]
# WHICH tests by their marks, of which those marked BESIDE are the second run. Options are pytest's. With COVERAGE, the
# share of our code that they cover, too.
set -uo pipefail

which=$1 beside=$2
shift 2
none_selected=5 # pytest's exit code
name=${beside// /-} # of this call: make test and make test-services may run at once
log=logs/tests-$name.log
export SKIPS_FILE=$PWD/logs/skipped-$name
mkdir -p logs
: >"$SKIPS_FILE"

if [ -n "${COVERAGE:-}" ]; then
    COVERAGE_DATA=$PWD/logs/coverage
    rm -rf "$COVERAGE_DATA"
    mkdir -p "$COVERAGE_DATA"
    chmod 1777 "$COVERAGE_DATA" # some tests are other users
    COVERAGE_PACKAGES=$(echo "$PWD"/.venvs/checks/lib/python3*/site-packages)
    COVERAGE_PROCESS_START=$PWD/pyproject.toml
    PYTHONPATH=$PWD/tests/measured${PYTHONPATH:+:$PYTHONPATH}
    export COVERAGE_DATA COVERAGE_PACKAGES COVERAGE_PROCESS_START PYTHONPATH
fi

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
