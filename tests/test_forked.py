"""Forked programs behave as those that a new interpreter starts."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests import forked
from tests.running import DEADLINE, until
from tests.test_makefile import alive

SERVES = r"""
page > said 2> log &
until grep -q ' port ' said; do sleep 0.1; done
sed 's/.* port \([0-9]*\) .*/\1/' said
sleep 600 > /dev/null 2>&1 &
echo $!
"""


def test_a_program_that_another_one_imports_starts_without_warnings() -> None:
    """The fork has its entry point already, of which `runpy` would warn."""
    forked.run(["tests.soak.receiving"], b"", DEADLINE)
    done = forked.run(["receiver", "--help"], b"", DEADLINE)
    assert (done.returncode, done.stderr) == (0, b"")


async def test_what_a_script_has_started_ends_with_it(tmp_path: Path) -> None:
    """A fork, which is no child of the script, and a process of its own."""
    forked.write_commands(tmp_path, {"page": "http.server"})
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    script = SERVES.replace("page", "page --bind 127.0.0.1 0", 1)
    done = forked.run_script(["sh", "-euc", script], tmp_path, environ, DEADLINE)
    assert done.returncode == 0, done.stderr
    port, pid = map(int, done.stdout.split())

    def is_refused() -> bool:
        with socket.socket() as raw:
            return raw.connect_ex(("127.0.0.1", port)) != 0

    await until(is_refused)
    await until(lambda: not alive(pid))
