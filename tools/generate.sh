#!/bin/sh
# Generates zcloud/v1 from proto/ (not committed).
set -e
cd "$(dirname "$0")/.."
.venv/bin/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. proto/zcloud/v1/*.proto
