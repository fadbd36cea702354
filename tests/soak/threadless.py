"""A receiver that can start no thread while a file `no-threads` exists beside its other files."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from receiver.__main__ import main
from tests.soak.receiving import prepare

submit = ThreadPoolExecutor.submit


def starve(flag: Path) -> None:
    """Have no call run in a thread while the file exists."""

    def submitting(self: ThreadPoolExecutor, *arguments: Any, **more: Any) -> Any:
        if flag.exists():
            raise RuntimeError("can't start new thread")
        return submit(self, *arguments, **more)

    ThreadPoolExecutor.submit = submitting  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    starve(Path(sys.argv[1]).with_name("no-threads"))
    prepare()
    main()
