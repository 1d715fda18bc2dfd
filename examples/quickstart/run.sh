#!/usr/bin/env bash
# The whole road on the photos beside this script, in about a minute on two cores: masks -> to-alpha -> cache -> train.
# It uses `--model tiny`: the real model classes in miniature with random weights, so the LoRA shows that everything works and learns nothing useful.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../../tests/environment.sh"
ready_environment "$here/.venv" ""
cd "$here"

step() { printf '\n\033[1m%s\033[0m\n' "$*"; "$@"; }

step blissmask masks --sheet work/sheet.png
step blissmask instance
step blissmask apply
step blissmask to-alpha
step blissmask cache
step blissmask train

python summary.py
