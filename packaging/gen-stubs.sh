#!/bin/sh
# Generate the Python stubs of every proto into the folder given (the repository's root by default).
set -eu
cd "$(dirname "$0")/.."
out=${1:-.}
bin=${VENV:-.venv}/bin
PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc -I proto \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" \
  proto/common/pb/v1/*.proto
