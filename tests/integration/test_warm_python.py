"""The warm Python does what a new process would, and ends as it would."""

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "import os, sys; print(__name__, sys.argv, os.getcwd(), os.environ['ONLY_HERE'])",
        "raise SystemExit(3)",
        "raise SystemExit('no')",
        "1 / 0",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import sys; print(sys.stdin.read().upper()); print('said', file=sys.stderr)",
    ],
)
def test_a_fork_says_and_ends_what_a_process_does(warm_python: str, tmp_path, code: str):
    cold, warm = (
        subprocess.run(
            [python, "-c", code, "one", "two words"],
            cwd=tmp_path,
            env={"ONLY_HERE": "yes"},
            input="typed",
            capture_output=True,
            text=True,
            check=False,
        )
        for python in (sys.executable, warm_python)
    )
    assert (warm.returncode, warm.stdout) == (cold.returncode, cold.stdout)
    assert warm.stderr.splitlines()[-1:] == cold.stderr.splitlines()[-1:]


def test_a_signal_reaches_the_fork(warm_python: str):
    code = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('on', flush=True); signal.pause()"
    with subprocess.Popen([warm_python, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 7
