"""Hello Secure World: a NATS server, two receivers, and a message that only one can read.

Runs each program in its own process, as a user would, and ends all of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import NoReturn

from xkeymsg.testing import NATSServer

TIMEOUT = 120
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Defer signals to the end of a block, when the process it starts can be ended."""
    came: list[int] = []
    handlers = {
        each: signal.signal(each, lambda number, _: came.append(number)) for each in SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for first in came[:1]:
            signal.raise_signal(first)


def start(stack: ExitStack, *arguments: str) -> subprocess.Popen[str]:
    """Start a program that the stack ends; its stderr is merged into its stdout."""
    command = [sys.executable, "-m", *arguments]
    with undisturbed():
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        stack.callback(stop, process)
    return process


def wait_for_key(receiver: subprocess.Popen[str]) -> str:
    """Read a receiver's output up to its public key, which it prints when it is subscribed."""
    assert receiver.stdout is not None
    said = []
    for line in receiver.stdout:
        said.append(line)
        if line.startswith("Receiver Public Key: "):
            return line.split()[-1]
    raise SystemExit(f"a receiver did not start:\n{''.join(said)}")


def show(name: str, text: str) -> None:
    """Print a program's output, each line after the program's name."""
    for line in text.splitlines():
        print(f"{name:>7} | {line}")


def stop(process: subprocess.Popen[str]) -> None:
    """Kill a process that still runs, and wait for it."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def main() -> int:
    """Run the demonstration; return 0 if Bob could read the message and Eve could not."""
    with ExitStack() as stack:
        with undisturbed():
            server = stack.enter_context(NATSServer())
        print(f"A nats-server listens on {server.url}. Two receivers start, Bob and Eve:\n")
        receivers: dict[str, subprocess.Popen[str]] = {}
        for name in ("bob", "eve"):
            flags = ("--server", server.url, "--count", "1", "--wait", "2m")
            receivers[name] = start(stack, "receiver", *flags)
        keys = {name: wait_for_key(program) for name, program in receivers.items()}
        for name, key in keys.items():
            show(name, f"Receiver Public Key: {key}")
        print("\nThe sender seals one message to Bob's key; the server hands it to both:\n")
        sender = start(stack, "sender", keys["bob"], "Hello Secure World", "--server", server.url)
        show("sender", sender.communicate(timeout=TIMEOUT)[0])
        for name, program in receivers.items():
            show(name, program.communicate(timeout=TIMEOUT)[0])
        codes = {name: program.returncode for name, program in receivers.items()}
    if codes == {"bob": 0, "eve": 3}:
        print("\nBob read it. Eve received the same bytes and could not.")
        return 0
    print(f"\nUnexpected exit codes: {codes}", file=sys.stderr)
    return 1


def interrupted(number: int, frame: FrameType | None) -> NoReturn:
    """Turn the first signal into an exception, so that every started process is ended."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for number in SIGNALS:
        signal.signal(number, interrupted)
    try:
        sys.exit(main())
    except BrokenPipeError:  # stdout is closed; every started process has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
