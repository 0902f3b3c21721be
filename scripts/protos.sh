#!/usr/bin/env bash
# Generate the Python code of protos/*.proto below the folder $1, default this checkout. Uses the python on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-.}
mkdir -p "$out/gephyra/protos"

# google/rpc/*.proto come with googleapis-common-protos.
google=$(python -c 'import google.rpc, pathlib; print(pathlib.Path(list(google.rpc.__path__)[0]).parents[1])')
protoc=(python -m grpc_tools.protoc -Igephyra/protos=protos -I"$google")
"${protoc[@]}" --python_out="$out" --mypy_out=quiet:"$out" protos/*.proto
# Only the files with services, since protoc writes an empty stub for the others.
"${protoc[@]}" --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" protos/*_service.proto
