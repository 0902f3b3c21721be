#!/usr/bin/env bash
# Create the virtual environment $1 and install gephyra into it, editable, with every extra at the pinned versions.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1

usable='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
for python in python3.11 python3.12 python3.13 python3; do
    # A shim may exist and not run, so try it.
    if command -v "$python" >/dev/null && "$python" -c "$usable" 2>/dev/null; then
        echo "creating $venv with $("$python" --version); installing takes some minutes, torch is large"
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
        exit 0
    fi
done
echo "gephyra needs Python 3.11 or newer, with the venv module (Debian: apt install python3-venv)" >&2
exit 1
