"""Our programs, each as a fork of one interpreter that has imported them.

To start Python and import a program costs many times what most runs of the program do. A fork is a
process like any other, with its own pipes, working directory, environment and exit code, and it
runs the module as `python -m` does. Two things are not tested this way: how the interpreter starts,
and that each module imports what it uses. `Program`, and `run` with an environment, start a new
interpreter.

`python -m tests.forked SOCKET` is the interpreter that is forked. A request is a datagram: what to
run, and four file descriptors. Three are the streams of the program; its pid and its exit code are
written to the fourth.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Final, NamedTuple, NoReturn

__all__ = ("run",)

IMPORTED: Final = (
    "receiver.command",
    "xkeymsg.daemons.receiver.daemon",
    "sender.command",
    "xkeymsg.daemons.sender.daemon",
    "xkeymsg.cli.command",
    "xkeymsg.cli.doctor",
    "xkeymsg.cli.quarantine",
    "xkeymsg.cli.config",
    "xkeymsg.cli.permissions",
    "xkeymsg.cli.stream",
)
_REQUEST_LIMIT: Final = 1 << 17
_SENDING: Final = threading.Lock()


class Request(NamedTuple):
    """What to run, and where."""

    arguments: list[str]
    """Those of `python -m`."""
    folder: str
    environment: dict[str, str]


# --- the side of the tests ------------------------------------------------------------------------


@cache
def _server() -> socket.socket:
    """Start the interpreter that is forked, and return the socket that takes requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        process = subprocess.Popen(
            command,
            # Pipes, as the forks have: Python remembers what a stream can do.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parent.parent,
        )

    def end() -> None:
        ours.close()
        process.communicate()

    atexit.register(end)
    return ours


def run(arguments: list[str], data: bytes, timeout: float) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m …` to its end."""
    request = Request(arguments, str(Path.cwd()), dict(os.environ))
    inside, outside = [], []
    for number in range(4):
        reading, writing = os.pipe()
        inside.append(reading if number == 0 else writing)
        outside.append(writing if number == 0 else reading)
    try:
        with _SENDING:
            socket.send_fds(_server(), [json.dumps(request).encode()], inside)
    finally:
        for each in inside:
            os.close(each)
    stdin, stdout, stderr, status = (
        os.fdopen(each, "wb" if number == 0 else "rb") for number, each in enumerate(outside)
    )
    with ThreadPoolExecutor(3) as threads, stdin, stdout, stderr, status:
        pid = int(status.readline())
        kill = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
        kill.start()
        try:
            writing_ended = threads.submit(_write, stdin, data)
            output, errors = (threads.submit(each.read) for each in (stdout, stderr))
            code = int(status.readline())
            writing_ended.result()
        finally:
            kill.cancel()
        if code == -signal.SIGKILL:
            raise subprocess.TimeoutExpired(arguments, timeout, output.result(), errors.result())
        return subprocess.CompletedProcess(arguments, code, output.result(), errors.result())


def _write(stdin: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), stdin:
        stdin.write(data)


# --- the interpreter that is forked ---------------------------------------------------------------


def _serve(requests: socket.socket) -> Request | None:
    """Fork for each request; return it in the fork, and None when the tests have ended."""
    while True:
        content, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_LIMIT, 4)
        _reap()
        if not content:
            return None
        if os.fork() == 0:
            requests.close()
            *standard, status = descriptors
            _fork_and_report(standard, status)
            return Request(*json.loads(content))
        for each in descriptors:
            os.close(each)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _fork_and_report(standard: list[int], status: int) -> None:
    """Return in another fork, which has these streams, and report how that one ends."""
    pid = os.fork()
    if pid == 0:
        for number, each in enumerate(standard):
            os.dup2(each, number)
        for each in (*standard, status):
            os.close(each)
        return
    for each in standard:
        os.close(each)
    os.write(status, b"%d\n" % pid)
    _, ended = os.waitpid(pid, 0)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


def _main(requests: socket.socket) -> None:
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork must not touch, and so copy, what is imported
    request = _serve(requests)
    if request is None:
        return
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    module, *sys.argv[1:] = request.arguments
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            _end(ended.code)
        raise


def _end(code: int) -> NoReturn:
    """End as the interpreter does, but free no objects: that would copy all memory."""
    threading._shutdown()  # type: ignore[attr-defined]  # it waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
