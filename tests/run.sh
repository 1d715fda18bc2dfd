#!/usr/bin/env bash
# Every check and test, in an environment of its own (.venv, reused by the next call). Arguments go to pytest: `bash tests/run.sh -k masks`.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/environment.sh
ready_environment "$PWD/.venv" "[dev]" tests/extras.txt
install_browser
if ! cmp --silent tests/aside.txt .venv/aside/installed; then
    rm -rf .venv/aside
    python -m pip install --quiet --no-deps --target .venv/aside --requirement tests/aside.txt
    cp tests/aside.txt .venv/aside/installed
fi

ruff check --quiet .
ruff format --check --quiet .
mypy
lint-imports
# Two test processes on two cores: OpenMP threads that wait for each other by spinning would make each three times slower.
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Hundreds of processes import the package: compiled once, whatever the caller's environment says of keeping what was compiled.
unset PYTHONDONTWRITEBYTECODE
# In the order of their names, in which what takes long stands before the many small files that fill the end.
python -m pytest -n "${BLISSMASK_TEST_JOBS:-2}" --dist loadfile --no-loadscope-reorder "$@"
