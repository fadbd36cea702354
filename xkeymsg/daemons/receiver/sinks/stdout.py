"""Lines on stdout. A slow reader slows down all routes; if it goes away, the receiver exits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Callable, Sequence

from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.receiver.sinks.sink import SinkGoneError, UnavailableError

__all__ = ("Stdout",)


class Stdout:
    """Writes records to a descriptor in a thread, so that a blocked write blocks nothing else.

    The thread is a daemon thread: a blocked write cannot delay the exit either.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._failed = False

    async def deliver(self, batch: Sequence[Record]) -> None:
        """Write a whole batch."""
        if self._failed:
            raise SinkGoneError("the reader of stdout is gone")
        await _in_thread(self._write, b"".join(record.line for record in batch))

    async def close(self) -> None:
        """Do nothing: the descriptor belongs to the process."""

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # another process that shares it made it non-blocking
                select.select([], [self._descriptor], [])
            except BrokenPipeError:
                self._failed = True
                raise SinkGoneError("the reader of stdout is gone") from None
            except OSError as error:
                # Half a line may have been written: the next line must not be taken for its rest.
                self._failed = self._failed or len(view) < len(data)
                kind = SinkGoneError if self._failed else UnavailableError
                raise kind(f"cannot write to stdout: {error.strerror}") from None


async def _in_thread(call: Callable[[bytes], None], data: bytes) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        try:
            call(data)
            outcome: Exception | None = None
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            outcome = error
        with contextlib.suppress(RuntimeError):  # the loop may have ended
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=work, name="stdout", daemon=True).start()
    await done
