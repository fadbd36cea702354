"""Runs several threads at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from tests.running import DEADLINE
from xkeymsg import XKeyMsgError

_T = TypeVar("_T")


def together(count: int, work: Callable[[int], _T]) -> list[_T | str]:
    """Call `work` with the number of each thread; return the results, or codes of errors."""
    barrier, results, failures = threading.Barrier(count), list[_T | str](), list[Exception]()

    def run(number: int) -> None:
        try:
            barrier.wait(DEADLINE)
            results.append(work(number))
        except XKeyMsgError as error:
            results.append(error.code)
        except Exception as error:  # noqa: BLE001 - raised by the test's thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert failures == []
    assert len(results) == count, "some threads hang"
    return results
