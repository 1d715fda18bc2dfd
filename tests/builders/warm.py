"""A Python whose libraries are imported already: `-c CODE`, `-m MODULE` and scripts run in forks of one process that waits.

It stands where a test starts ``sys.executable`` and what is tested is not the start itself. Importing takes seconds, what
miniatures do takes less. The program that tests start is small: it hands its streams, folder, arguments and environment to the
process that waits, passes signals on, and ends as the fork did. With options that only a new process can have, it becomes one.

What is imported already stays as it was imported: the package of this checkout, with the threads and the seed of hashes that
the process that waits began with. Handlers of ``atexit`` are not called.

``python -m tests.builders.warm SOCKET`` is the process that waits.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from tests.builders.disk import wait_for_no_disk

HOUSE = Path(__file__).parents[2]
GIVEN = "BLISSMASK_WARM_PYTHON"
"""Environment variable with the program, for tests that a test runs."""
_STREAMS = 3
_LONGEST = 1 << 24
"""Most bytes of arguments and environment; Linux takes far fewer."""
# Isolated and without site-packages: it starts in 10 ms. A process that is killed takes its fork along, by closing the connection.
# The line that starts it may not hold a path with spaces.
_PROGRAM = """#!/bin/sh
''''exec "{python}" -IS "$0" "$@" # '''
import array, json, os, signal, socket, sys
options = sys.argv[1:]
unbuffered = options[:1] == ["-u"]
while options[:1] == ["-u"]:
    del options[0]
if not options or (options[0] not in ("-c", "-m") and options[0].startswith("-")):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
job = {{"arguments": options, "unbuffered": unbuffered, "folder": os.getcwd(), "environment": dict(os.environ)}}
job = json.dumps(job).encode()
passed_on = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One that comes before it is known whom to pass it on to waits.
signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)
waiting = socket.socket(socket.AF_UNIX)
waiting.connect({address!r})
waiting.sendmsg([len(job).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
waiting.sendall(job)
answers = waiting.makefile()
def answer():
    line = answers.readline()
    if not line:
        sys.exit("the process that waits with everything imported is gone")
    return int(line)
def pass_on(number, frame):
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass  # It has ended, and how is about to be told.
process = answer()
for number in passed_on:
    signal.signal(number, pass_on)
signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
code = answer()
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class WarmPython:
    """The process that waits, as seen from tests; making it waits until it is ready.

    Attributes:
        executable: the program that stands where ``sys.executable`` would.
    """

    def __init__(self) -> None:
        # A socket's path has about a hundred characters at most; that of a test's folder may have more.
        self._folder = Path(tempfile.mkdtemp(prefix="warm-"))
        address = str(self._folder / "door")
        self.executable = str(self._folder / "python")
        Path(self.executable).write_text(_PROGRAM.format(python=sys.executable, address=address), encoding="utf-8")
        Path(self.executable).chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.builders.warm", address],
            cwd=HOUSE,
            # Another seed of hashes than the process that compares may have.
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "77"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def close(self) -> None:
        self._process.communicate(timeout=60)
        shutil.rmtree(self._folder, ignore_errors=True)


def import_everything() -> None:
    """Import the package, and what it imports late, when a model is built, a caption is read or a command line is parsed."""
    from blissmask.imports import quick_imports

    with quick_imports():
        _import_everything()


def _import_everything() -> None:
    import blissmask

    for module in pkgutil.walk_packages(blissmask.__path__, "blissmask."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for late in ("ftfy", "peft", "torch.utils.tensorboard", "transformers.optimization", "typer._adapters"):
        importlib.import_module(late)
    from diffusers import AutoencoderKLWan, WanTransformer3DModel  # noqa: F401
    from PIL import Image
    from transformers import UMT5EncoderModel  # noqa: F401

    from blissmask.cli.commands import COMMANDS
    from blissmask.cli.subcommand import whole_command
    from blissmask.config.model import Config

    for command in COMMANDS:
        # Its flags are made when a value of theirs is asked for.
        whole_command(command).make_context(command.name, [])
    # The schemas of its sections are made when they are asked for the first time, which takes as long as a step.
    Config.model_validate({})
    Image.preinit()


def _serve(address: str) -> None:
    wait_for_no_disk()
    import_everything()
    for late in ("accelerate.commands.launch", "torch.distributed.run", "torch.distributed.fsdp"):
        importlib.import_module(late)
    # What was imported is no garbage, and looking through it would copy its memory into every fork.
    gc.collect()
    gc.freeze()
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    door = socket.socket(socket.AF_UNIX)
    door.bind(address)
    door.listen()
    watched = selectors.DefaultSelector()
    for source in (sys.stdin, ended, door):
        watched.register(source, selectors.EVENT_READ)
    running: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        for key, _ in watched.select():
            source: Any = key.fileobj
            if source is sys.stdin:
                for process in running:
                    os.kill(process, signal.SIGKILL)
                shutil.rmtree(Path(address).parent, ignore_errors=True)
                # Tearing down what was imported takes seconds.
                os._exit(0)
            elif source is ended:
                ended.recv(1000)
                _tell_ends(running, watched)
            elif source is door:
                connection, _ = door.accept()
                process = _fork(connection)
                if process is None:
                    connection.close()
                    continue
                running[process] = connection
                watched.register(connection, selectors.EVENT_READ)
                _tell(connection, process)
            elif source in watched.get_map():
                # The program was killed, and its fork has not just ended by itself.
                watched.unregister(source)
                for process in [process for process, connection in running.items() if connection is source]:
                    os.kill(process, signal.SIGKILL)


def _tell_ends(running: dict[int, socket.socket], watched: selectors.BaseSelector) -> None:
    """Tell the programs whose forks have ended their exit codes."""
    while running:
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        with running.pop(process) as connection:
            if connection in watched.get_map():
                watched.unregister(connection)
                _tell(connection, os.waitstatus_to_exitcode(status))


def _tell(connection: socket.socket, number: int) -> None:
    # A program that was killed meanwhile is seen by its closed connection.
    with contextlib.suppress(ConnectionError):
        connection.sendall(f"{number}\n".encode())


def _fork(connection: socket.socket) -> int | None:
    """Return the number of a fork that does what the program at the other end of the connection was started for.

    None where the program was killed before it had said what that is.
    """
    streams = array.array("i")
    start, rights, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(_STREAMS * streams.itemsize))
    if not rights:
        return None
    streams.frombytes(rights[0][2])
    length = int.from_bytes(start, "big")
    assert 0 < length < _LONGEST
    with connection.makefile("rb") as said:
        job = said.read(length)
    if len(job) < length:
        for stream in streams:
            os.close(stream)
        return None
    process = os.fork()
    if not process:
        _become(streams, json.loads(job))
    for stream in streams:
        os.close(stream)
    return process


def _become(streams: array.array[int], job: Mapping[str, Any]) -> NoReturn:
    """Be the process that ``job`` describes."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    # The connections of other programs are theirs, and what is not closed here would keep pipes of others open.
    os.closerange(_STREAMS, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 1 << 16 else 1 << 16)
    # Made for other files, they would not know what these can.
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout.reconfigure(write_through=job["unbuffered"])  # type: ignore[union-attr]
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    code = 1
    try:
        _run(job["arguments"])
        code = 0
    except SystemExit as end:
        if isinstance(end.code, int):
            code = end.code
        elif end.code is None:
            code = 0
        else:
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except Exception:  # noqa: BLE001 - the interpreter of the fork ends here, and prints what an interpreter prints
        traceback.print_exc()
    finally:
        # As the interpreter does before it tears down its modules.
        threading._shutdown()  # type: ignore[attr-defined]
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(arguments: list[str]) -> None:
    """Run what an interpreter with these arguments would."""
    kind, *rest = arguments
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place not in ("", *sys.path)]
    sys.path[:0] = places
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif kind == "-m":
        sys.argv = rest
        sys.path.insert(0, str(Path.cwd()))
        if not hasattr(sys.modules.get(rest[0]), "__path__"):
            # It is run anew, under another name.
            sys.modules.pop(rest[0], None)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(kind).resolve().parent))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    # Under its own name, since modules that are imported later may import it.
    importlib.import_module("tests.builders.warm")._serve(sys.argv[1])
