"""Our programs, each as a fork of one interpreter that has imported them.

To start Python and import a program costs many times what most runs of the program do. A fork is a
process like any other, with its own pipes, working directory, environment and exit code, and it
runs the module as `python -m` does. Two things are not tested this way: how the interpreter starts,
and that each module imports what it uses. `Program` and `run` start a new interpreter with `fresh`;
`tests/cli/test_help.py` does so for every verb.

`python -m tests.forked SOCKET` is the interpreter that is forked. A request is a datagram: what to
run, and four file descriptors. Three are the streams of the program; its pid and its exit code are
written to the fourth. When nobody can read there any more, the program is killed.
`tests/fork_client.py` sends such a request from a shell script.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
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

from xkeymsg.daemons.receiver.config import ReceiverConfig
from xkeymsg.daemons.sender.config import SenderConfig

__all__ = ("Fork", "run", "run_script", "write_commands")

IMPORTED: Final = (
    "receiver.command",
    "xkeymsg.daemons.receiver.daemon",
    "sender.command",
    "xkeymsg.daemons.sender.daemon",
    "xkeymsg.cli.command",
    "xkeymsg.cli.config",
    "xkeymsg.cli.directory",
    "xkeymsg.cli.doctor.command",
    "xkeymsg.cli.doctor.daemon",
    "xkeymsg.cli.doctor.files",
    "xkeymsg.cli.doctor.server",
    "xkeymsg.cli.explain",
    "xkeymsg.cli.inspect",
    "xkeymsg.cli.keys",
    "xkeymsg.cli.kv",
    "xkeymsg.cli.messages",
    "xkeymsg.cli.object",
    "xkeymsg.cli.peers",
    "xkeymsg.cli.permissions",
    "xkeymsg.cli.policy",
    "xkeymsg.cli.quarantine",
    "xkeymsg.cli.reseal",
    "xkeymsg.cli.rotate",
    "xkeymsg.cli.stores",
    "xkeymsg.cli.stream",
    "xkeymsg.cli.trust.change",
    "xkeymsg.cli.trust.create",
    "xkeymsg.cli.trust.describe",
    "xkeymsg.cli.trust.export",
    "xkeymsg.cli.trust.push",
    "xkeymsg.cli.trust.remove",
    "xkeymsg.cli.trust.share_directory",
)
_CLIENT: Final = Path(__file__).with_name("fork_client.py")
_REQUEST_LIMIT: Final = 1 << 17
_PREPARED: Final = set[str]()
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
    """Run a shell whose script may use the commands of `write_commands`.

    What the script has started ends with it.
    """
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        pass_fds=[_server().fileno()], start_new_session=True,
    ) as shell:  # fmt: skip
        try:
            output, errors = shell.communicate(timeout=timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, shell.returncode, output, errors)


# --- the interpreter that is forked ---------------------------------------------------------------


def _serve(requests: socket.socket) -> Request | None:
    """Fork for each request; return it in the fork, and None when the tests have ended."""
    ready = select.poll()
    ready.register(requests, select.POLLIN)
    running: dict[int, tuple[int, int]] = {}  # by their pidfd: pid, and where to report
    awaited: dict[int, int] = {}  # by where to report: pid
    while True:
        # One at a time: descriptors are closed, and their numbers used again.
        found, _ = ready.poll()[0]
        if found in running:
            pid, status = running.pop(found)
            ready.unregister(found)
            if awaited.pop(status, None):
                ready.unregister(status)
            _report_end(found, pid, status)
            continue
        if found in awaited:
            ready.unregister(found)
            _kill(awaited.pop(found))
            continue
        content, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_LIMIT, 4)
        if not content:
            _kill(*awaited.values())
            return None
        request = Request(*json.loads(content))
        _prepare(request.arguments[0])
        pid = os.fork()
        if pid == 0:
            requests.close()
            others = [each for watched, (_, status) in running.items()
                      for each in (watched, status)]  # fmt: skip
            _become(descriptors, others)
            return request
        watched = os.pidfd_open(pid)
        *standard, status = descriptors
        ready.register(watched, select.POLLIN)
        ready.register(status, 0)  # an error, if nobody can read there
        running[watched], awaited[status] = (pid, status), pid
        _report(status, pid)
        for each in standard:
            os.close(each)


def _become(descriptors: list[int], others: list[int]) -> None:
    """Use these streams, and close the descriptors that a program does not have."""
    *standard, _ = descriptors
    for number, each in enumerate(standard):
        os.dup2(each, number)
    for each in (*descriptors, *others):
        os.close(each)


def _kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def _prepare(module: str) -> None:
    """Import what a program of the tests imports; several checks run as the same program."""
    if module.startswith("tests.") and module not in _PREPARED:
        _PREPARED.add(module)
        with contextlib.suppress(ImportError):  # the fork reports it
            import_module(module)
            del sys.modules[module]  # or `runpy` warns
            gc.freeze()


def _report_end(watched: int, pid: int, status: int) -> None:
    _, ended = os.waitpid(pid, 0)
    _report(status, os.waitstatus_to_exitcode(ended))
    os.close(watched)
    os.close(status)


def _report(status: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it
        os.write(status, b"%d\n" % number)


def _main(requests: socket.socket) -> None:
    for name in IMPORTED:
        import_module(name)
    for config in (ReceiverConfig, SenderConfig):
        config.model_rebuild()  # the first use would, in each fork
    gc.collect()
    gc.freeze()  # a collection in a fork must not touch, and so copy, what is imported
    request = _serve(requests)
    if request is None:
        return
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    module, *sys.argv[1:] = request.arguments
    sys.modules.pop(f"{module}.__main__", None)  # imported by a program of the tests: `runpy` warns
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
