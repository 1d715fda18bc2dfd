#!/usr/bin/env bash
# The whole road on the photos beside this script, in about a minute on two cores: masks -> to-alpha -> cache -> train.
# It uses `--model tiny`: the real model classes in miniature with random weights, so the LoRA shows that everything works and learns nothing useful.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if python -c 'import torch' 2>/dev/null; then
    echo "Using the Python that is active: $(command -v python)" >&2
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    python -c 'import blissmask.tasks.train.plan' || { echo "error: install blissmask there first: pip install $root" >&2; exit 1; }
    blissmask() { python -m blissmask "$@"; }
else
    source "$root/tests/environment.sh"
    ready_environment "$here/.venv" ""
fi
cd "$here"

bold='' plain=''
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; "$@"; }

step blissmask masks --sheet work/sheet.png
step blissmask instance
step blissmask apply
step blissmask to-alpha
step blissmask cache
step blissmask train

printf '\nThe LoRA, which fits no real model: %s\nThe training on one page:           %s\n' "$here/work/lora/eileen-low.safetensors" "$here/work/lora/eileen-low.html"
