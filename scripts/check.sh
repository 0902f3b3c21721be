#!/usr/bin/env bash
# Static checks: all of them, or those named as arguments. Uses the tools on PATH; changes nothing outside build/.
set -euo pipefail
cd "$(dirname "$0")/.."

lint() {
    ruff check .
    ruff format --check .
}

types() {
    mypy
}

imports() {
    lint-imports --no-logo --no-cache
}

# buf walks links and knows no virtual paths: show it the files where their imports say they are.
wire() {
    local google
    google=$(python -c 'import google.rpc, pathlib; print(list(google.rpc.__path__)[0])')
    rm -rf build/buf
    mkdir -p build/buf/gephyra/protos build/buf/google/rpc
    cp protos/*.proto build/buf/gephyra/protos/
    cp "$google"/*.proto build/buf/google/rpc/
    cp buf.yaml build/buf/
    (cd build/buf && buf lint)
}

# The committed code is what protoc makes of the .proto files, and nothing else.
generated() {
    rm -rf build/protos
    scripts/protos.sh build/protos
    diff -r --exclude='*.proto' --exclude=__init__.py --exclude=__pycache__ build/protos/gephyra/protos protos || {
        echo "protos/ differs from what protoc makes: run make protos and commit the result" >&2
        return 1
    }
}

examples() {
    pytest -q --doctest-modules -p no:cacheprovider gephyra
}

all=(lint types imports wire generated examples)
for check in "${@:-${all[@]}}"; do
    echo "== $check"
    "$check"
done
