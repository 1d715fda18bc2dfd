#!/usr/bin/env bash
# The oldest versions that pyproject.toml allows, all of them together, in an environment of its own (.venv-oldest): what the package promises to
# work with, and pip leaves in place. Arguments go to pytest: `bash tests/lower_bounds.sh tests/unit/media`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091
source tests/environment.sh
folder=$PWD/.venv-oldest
python=$(find_python)
bounds=$("$python" tests/lower_bounds.py)
if [ "$(cat "$folder/.ready" 2>/dev/null)" != "$bounds" ]; then
    rm -rf "$folder"
    "$python" -m venv "$folder"
    printf '%s\n' "$bounds" > "$folder/oldest.txt"
    torch=$(grep '^torch==' "$folder/oldest.txt")
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    # The CPU build where it can be had: it spares gigabytes.
    "$folder/bin/python" -m pip install --quiet "$torch" --index-url https://download.pytorch.org/whl/cpu 2>/dev/null ||
        "$folder/bin/python" -m pip install --quiet "$torch"
    "$folder/bin/python" -m pip install --quiet --constraint "$folder/oldest.txt" --editable . pytest hypothesis scipy
    printf '%s\n' "$bounds" > "$folder/.ready"
fi
# shellcheck disable=SC1091
source "$folder/bin/activate"
python -m pip list --format=freeze | grep -iE "^($(cut -d= -f1 "$folder/oldest.txt" | paste -sd'|'))=="
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
tests=(tests/unit tests/integration/apply tests/integration/to_alpha tests/integration/masks tests/integration/cache tests/integration/train)
if [ $# -gt 0 ]; then tests=("$@"); fi
# Warnings of old versions about newer ones are not what is tested.
python -m pytest -W default "${tests[@]}"
