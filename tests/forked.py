"""Our programs, each as a fork of one interpreter that has imported them.

To start Python and import a program costs many times what most runs of the program do. A fork is a
process like any other, with its own pipes, working directory, environment and exit code, and it
runs the module as `python -m` does. Two things are not tested this way: how the interpreter starts,
and that each module imports what it uses. `Program` with `fresh`, and `run` with an environment,
start a new interpreter; `tests/cli/test_help.py` does so for every verb.

`python -m tests.forked SOCKET` is the interpreter that is forked. A request is a datagram: what to
run, and four file descriptors. Three are the streams of the program; its pid and its exit code are
written to the fourth. `tests/fork_client.py` sends such a request from a shell script.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Final, NamedTuple, NoReturn

__all__ = ("Fork", "run", "run_script", "write_commands")

IMPORTED: Final = (
    "receiver.command",
    "xkeymsg.daemons.receiver.daemon",
    "sender.command",
    "xkeymsg.daemons.sender.daemon",
    "xkeymsg.cli.command",
    "xkeymsg.cli.config",
    "xkeymsg.cli.directory",
    "xkeymsg.cli.doctor",
    "xkeymsg.cli.inspect",
    "xkeymsg.cli.keys",
    "xkeymsg.cli.messages",
    "xkeymsg.cli.peers",
    "xkeymsg.cli.permissions",
    "xkeymsg.cli.policy",
    "xkeymsg.cli.quarantine",
    "xkeymsg.cli.rotate",
    "xkeymsg.cli.stores",
    "xkeymsg.cli.stream",
    "xkeymsg.cli.trust.command",
)
_CLIENT: Final = Path(__file__).with_name("fork_client.py")
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


class Fork(subprocess.Popen[bytes]):
    """A program as a fork, with the interface of `Popen`; its streams are pipes or descriptors."""

    def __init__(
        self,
        arguments: list[str],
        *,
        stdin: int = subprocess.PIPE,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.args = arguments
        self.returncode = None
        self.stdin = self.stdout = self.stderr = None
        request = Request(
            arguments, str(cwd or Path.cwd()), dict(os.environ if env is None else env)
        )
        with contextlib.ExitStack() as inside:

            def pipe(*, ours_reads: bool) -> tuple[int, int]:
                """Return the end of the fork, which is closed here, and ours."""
                reading, writing = os.pipe()
                theirs, ours = (writing, reading) if ours_reads else (reading, writing)
                inside.callback(os.close, theirs)
                return theirs, ours

            if stdin == subprocess.PIPE:
                stdin, ours = pipe(ours_reads=False)
                self.stdin = os.fdopen(ours, "wb")
            elif stdin == subprocess.DEVNULL:
                stdin = os.open(os.devnull, os.O_RDONLY)
                inside.callback(os.close, stdin)
            if stdout == subprocess.PIPE:
                stdout, ours = pipe(ours_reads=True)
                self.stdout = os.fdopen(ours, "rb")
            if stderr == subprocess.PIPE:
                stderr, ours = pipe(ours_reads=True)
                self.stderr = os.fdopen(ours, "rb")
            status, ours = pipe(ours_reads=True)
            self._status: IO[bytes] = os.fdopen(ours, "rb", buffering=0)
            with _SENDING:
                descriptors = [stdin, stdout, stderr, status]
                socket.send_fds(_server(), [json.dumps(request).encode()], descriptors)
        self.pid = int(self._status.readline())

    def __del__(self) -> None:
        """Do not warn as `Popen` does of a process that was not awaited."""
        self._status.close()

    def poll(self) -> int | None:
        """Return the exit code of an ended process."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code.

        Raises:
            subprocess.TimeoutExpired: If the process did not end in time.
        """
        if self.returncode is None:
            ready = select.poll()
            ready.register(self._status)
            if not ready.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal to a process that has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)


def run(
    arguments: list[str], data: bytes, timeout: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m …` to its end."""
    with ThreadPoolExecutor(3) as threads, Fork(arguments, env=env) as fork:
        try:
            writing = threads.submit(_write, fork.stdin, data)
            output, errors = (threads.submit(_read, each) for each in (fork.stdout, fork.stderr))
            code = fork.wait(timeout)
            writing.result()
        except BaseException:
            fork.kill()  # the threads end with it
            raise
        return subprocess.CompletedProcess(arguments, code, output.result(), errors.result())


def _read(pipe: IO[bytes] | None) -> bytes:
    assert pipe is not None
    return pipe.read()


def _write(pipe: IO[bytes] | None, data: bytes) -> None:
    assert pipe is not None
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(data)


def write_commands(folder: Path, programs: Mapping[str, str]) -> None:
    """Write commands for shell scripts, by name and module; `run_script` runs such a script."""
    for name, module in programs.items():
        path = folder / name
        command = f'"{sys.executable}" -I -S "{_CLIENT}" {_server().fileno()} {module}'
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o700)


def run_script(
    command: list[str], folder: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a shell whose script may use the commands of `write_commands`."""
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout, check=False,
        pass_fds=[_server().fileno()],
    )  # fmt: skip


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
