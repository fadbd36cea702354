"""Tasks that run beside the program, and end with what began them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

__all__ = ("Background",)

_GRACE: Final = 1.0
"""Seconds for tasks that were cancelled to come to their end."""


class Background:
    """Tasks of one owner. Not a task group: a failure here is told of, and ends nothing else."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            context = {"message": "a task of the client failed", "exception": fault, "task": task}
            task.get_loop().call_exception_handler(context)

    async def finish(self, timeout: float) -> None:
        """Wait until all of them have ended, but not longer than `timeout` seconds."""
        end = asyncio.get_running_loop().time() + timeout
        while self._tasks and (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left)

    async def close(self) -> None:
        """Cancel all of them, and wait a moment for their end."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE)
