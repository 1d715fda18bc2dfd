"""The warm Python does what a new process would, and ends as it would."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

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
        "raise KeyboardInterrupt",
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
    code = """if True:
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        print('on', flush=True)
        while True:
            time.sleep(0.01)
    """
    with subprocess.Popen([warm_python, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 7


def test_a_program_that_is_killed_takes_its_fork_along_and_the_next_one_is_served(warm_python: str):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with subprocess.Popen([warm_python, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        fork = int(process.stdout.readline())
        process.kill()
        # The end of the pipe: the fork, which had the other end, has ended.
        assert process.stdout.read() == ""
    deadline = time.monotonic() + 60
    while Path(f"/proc/{fork}").exists():
        assert time.monotonic() < deadline, "the fork is not buried"
        time.sleep(0.01)
    address = str(Path(warm_python).with_name("door"))
    for said in (b"", b"\0\0\1\0", b"half"):
        with socket.socket(socket.AF_UNIX) as killed:
            killed.connect(address)
            killed.sendall(said)
    ended = subprocess.run([warm_python, "-c", "print(1)"], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "1\n"
