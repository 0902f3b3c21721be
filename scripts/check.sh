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
stage() {
    local google
    google=$(python -c 'import google.rpc, pathlib; print(list(google.rpc.__path__)[0])')
    rm -rf "$2"
    mkdir -p "$2/gephyra/protos" "$2/google/rpc"
    cp "$1"/*.proto "$2/gephyra/protos/"
    cp "$google"/*.proto "$2/google/rpc/"
    cp buf.yaml "$2/"
}

# What the last release said on the wire lies beside its data folder: a clone may lack the tag.
wire() {
    local released
    released=$(printf '%s\n' tests/upgrade/fixtures/v*/protos | sort -V | tail -n 1)
    stage protos build/buf/now
    stage "$released" build/buf/released
    (cd build/buf/now && buf lint)
    (cd build/buf/now && buf breaking --against ../released) || {
        echo "protos/ breaks clients of $released: keep names and numbers of what was released" >&2
        return 1
    }
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
