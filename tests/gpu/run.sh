#!/usr/bin/env bash
# Everything that only a GPU can say, in eight minutes: tests, step times, memory. `--rehearse` does all of it on the CPU, in miniature.
# `--musubi FOLDER` measures musubi-tuner's step beside ours, from a copy of its source. Prints one table and writes it as JSON. Needs the environment that tests/run.sh makes, or any with blissmask in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ -f .venv/bin/activate ]; then
    # shellcheck disable=SC1091
    source .venv/bin/activate
fi
export HF_HUB_OFFLINE=1
# The parts stop by themselves; this ends one that hangs. What was measured until then is written.
exec timeout --signal=INT 500 python -m tests.gpu "$@"
