# Sourced by tests/run.sh and examples/quickstart/run.sh: `ready_environment FOLDER EXTRAS [ALONE]` creates or reuses a virtual environment and activates it.
# ALONE is a list of packages that are installed without what they ask for.
# Everything is pinned by tests/constraints.txt. On a machine without an NVIDIA GPU the CPU build of torch is taken, which spares gigabytes.

ready_environment() {
    local folder=$1 extras=$2 alone=${3:-/dev/null}
    local root; root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    local constraints=$root/tests/constraints.txt
    local wanted; wanted=$(cat "$constraints" "$alone" "$root/pyproject.toml" | sha256sum | cut -d' ' -f1)-$extras
    if [ ! -f "$folder/.ready" ] || [ "$(cat "$folder/.ready")" != "$wanted" ]; then
        echo "Creating an environment in $folder; what is installed is downloaded first, some minutes and up to 5 GB ..." >&2
        local python; python=$(find_python)
        rm -rf "$folder"
        "$python" -m venv "$folder"
        export PIP_DISABLE_PIP_VERSION_CHECK=1
        echo "  PyTorch ..." >&2
        install_torch "$folder/bin/python" "$constraints"
        echo "  blissmask and what it needs ..." >&2
        "$folder/bin/python" -m pip install --quiet --constraint "$constraints" --editable "$root$extras"
        if [ -s "$alone" ]; then "$folder/bin/python" -m pip install --quiet --no-deps --requirement "$alone"; fi
        echo "$wanted" > "$folder/.ready"
    fi
    # shellcheck disable=SC1091
    source "$folder/bin/activate"
}

install_browser() {
    # Pages are tested in Debian's Chromium. Where it may not be installed, those tests say that they are skipped; with CI set they fail.
    if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing Chromium ..." >&2
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } ||
            echo "warning: Chromium cannot be installed here; tests of pages are skipped" >&2
    fi
}

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: Python 3.11 or newer is needed" >&2
    return 1
}

install_torch() {
    local python=$1 constraints=$2
    if command -v nvidia-smi >/dev/null; then
        "$python" -m pip install --quiet --constraint "$constraints" torch
    else
        # A CPU build at hand (a wheel folder that pip is configured with) first, then the one PyTorch publishes.
        "$python" -m pip install --quiet --constraint "$constraints" 'torch==2.13.0+cpu' 2>/dev/null ||
            "$python" -m pip install --quiet --constraint "$constraints" torch --extra-index-url https://download.pytorch.org/whl/cpu
    fi
}
