#!/usr/bin/env bash
# Every check and test, in an environment of its own (.venv, reused by the next call). Arguments go to pytest: `bash tests/run.sh -k masks`.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/environment.sh
ready_environment "$PWD/.venv" "[dev]"

ruff check --quiet .
ruff format --check --quiet .
mypy
lint-imports
export HF_HUB_OFFLINE=1
python -m pytest -n "${BLISSMASK_TEST_JOBS:-2}" --dist loadfile "$@"
