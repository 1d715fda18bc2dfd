"""cli/stops.py: which signals stop a run gently, and which at once."""

import os
import pty
import signal
import subprocess
import sys
import textwrap

import pytest

RUN = textwrap.dedent(
    """
    import os, sys, time
    from blissmask.cli.stops import stopping
    with stopping() as stops:
        stops.working = len(sys.argv) > 1
        print("ready", flush=True)
        while not stops.signal_number():
            time.sleep(0.01)
        print(f"saving for {stops.signal_number()}", file=sys.stderr, flush=True)
        if sys.argv[1] == "wait":
            time.sleep(60)
        sys.exit(128 + stops.signal_number())
    """
)


def start(*arguments, **options):
    command = [sys.executable, "-c", RUN, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_the_first_signal_lets_a_run_finish(number):
    process = start("finish")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"saving for {number.value}" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_before_there_is_work_ends_at_once_and_quietly(number):
    process = start()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err == "stopped at once; run the same command again to continue\n"


def test_a_signal_in_the_middle_of_a_line_is_answered_too():
    code = """
        import os, signal
        from blissmask.cli.stops import stopping
        from blissmask.ui.console import err
        with stopping(), err():
            err().print("warning: half of")
            os.kill(os.getpid(), signal.SIGINT)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130
    assert ended.stderr == "stopped at once; run the same command again to continue\n"


def test_a_signal_without_a_stderr_ends_at_once_too():
    code = """
        import os, signal, sys
        from blissmask.cli.stops import stopping
        assert sys.stderr is None
        with stopping():
            os.kill(os.getpid(), signal.SIGTERM)
    """
    ended = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, textwrap.dedent(code)], check=False, timeout=60
    )
    assert ended.returncode == 143


def signal_twice(process, first, second):
    process.send_signal(first)
    while "saving" not in process.stderr.readline():
        pass
    process.send_signal(second)


def test_the_second_ctrl_c_stops_at_once():
    process = start("wait")
    signal_twice(process, signal.SIGINT, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGHUP, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)],
    ids=lambda number: number.name,
)
def test_several_signals_for_one_wish_do_not_keep_a_run_from_saving(first, second):
    process = start("wait")
    signal_twice(process, first, second)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.kill()
    process.communicate()


def test_what_a_launcher_passes_on_is_no_second_ctrl_c():
    process = start("wait", env={**os.environ, "LOCAL_RANK": "0"})
    signal_twice(process, signal.SIGINT, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.kill()
    process.communicate()


def test_nohup_keeps_a_run_from_hearing_of_a_closed_window():
    process = start("wait", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.kill()
    process.communicate()


def test_a_run_whose_terminal_is_gone_saves_all_the_same():
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "finish"], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    assert process.stdout.readline() == "ready\n"
    # Closing our end hangs the terminal up; it is not the controlling one here, so the signal comes from us.
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP
