#!/usr/bin/env bash
# What the package does on a GPU: benchmarks/gpu/README.md. Usage: benchmarks/gpu/run.sh [OUT_DIR] [OPTIONS]
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
exec "${PYTHON:-python3}" benchmarks/gpu/run.py "$@"
