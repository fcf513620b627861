#!/bin/sh
# Print a Python 3.11 that can make virtual environments, or the command that installs one.
set -eu

for candidate in "${PYTHON:-}" python3.11 python3 /usr/bin/python3.11; do
    [ -n "$candidate" ] || continue
    found=$(command -v "$candidate") || continue
    "$found" -c 'import sys; raise SystemExit(sys.version_info[:2] != (3, 11))' 2>/dev/null || continue
    if "$found" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$found"
        exit 0
    fi
    without_venv=$found
done

if [ -n "${without_venv:-}" ]; then
    echo "error: $without_venv cannot make virtual environments. Type: sudo apt-get install python3.11-venv" >&2
else
    echo "error: Python 3.11 is needed, and no other version has wheels for every environment. On Debian 12, type:" >&2
    echo "  sudo apt-get install python3.11 python3.11-venv" >&2
    echo "elsewhere 'uv python install 3.11' or pyenv brings it; then: make PYTHON=/path/to/python3.11" >&2
fi
exit 2
