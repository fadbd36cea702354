"""The native core uses all random bytes that it asks the kernel for, and for nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import DEADLINE, run
from xkeymsg import native

pytestmark = [
    pytest.mark.skipif(native.core is None, reason="the native core is not in use"),
    pytest.mark.skipif(sys.platform != "linux", reason="a library in front needs Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]

COUNTING = """
#include <stddef.h>
#include <sys/types.h>
size_t drawn;
ssize_t getrandom(void *memory, size_t size, unsigned flags) {
    for (size_t at = 0; at < size; at++) ((unsigned char *) memory)[at] = drawn++;
    return size;
}
"""
"""Numbers instead of random bytes: what was drawn can be given to another session."""

STORY = """
import ctypes
from tests.envelope.cast import CAROL
from tests.native.inside import core_of, with_known_secrets
from xkeymsg import Recipient, native
from xkeymsg.envelope.plan import Sharing

counter = ctypes.c_size_t.in_dll(ctypes.CDLL(None), "drawn")

def drawn(work):
    first = counter.value
    result = work()
    return result, bytes(number % 256 for number in range(first, counter.value))

def sessions():
    return [with_known_secrets(ALICE, b"e" * 32, b"h" * 32)[1] for _ in range(2)]

def audience(parts):
    if parts == 1:
        return BOB.public, CAROL.public
    bob, carol = Recipient(BOB.public), Recipient(CAROL.public)
    return Sharing({bob: frozenset([0]), carol: frozenset(range(parts))}, parts)

for parts, keys in ((1, 1), (2, 4), (3, 5), (40, 42)):
    one, two = sessions()
    plans = [each.plan(audience(parts), SUBJECT, b"\\x93\\xc0\\xc0\\xc0") for each in (one, two)]
    contents = [(int(parts > 1), b"x")] * parts
    for _ in range(3):
        sealed, random = drawn(lambda: core_of(one).seal(plans[0], 2**60, contents, None))
        assert len(random) == 8 + 32 * keys, len(random)
        assert core_of(two).seal(plans[1], 2**60, contents, None, random) == sealed, parts

core, random = drawn(lambda: native.core.Session(1000.0))
assert len(random) == 64
same = native.core.Session(1000.0, random[:32], random[32:])
assert core.public == same.public
made = {each.seal(plans[0], 2**60, contents, None, bytes(8 + 32 * keys)) for each in (core, same)}
assert len(made) == 1
"""


def test_all_bytes_that_are_drawn_are_used(tmp_path: Path) -> None:
    # E-21, E-26, E-27
    source, library = tmp_path / "counting.c", tmp_path / "counting.so"
    source.write_text(COUNTING)
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, timeout=DEADLINE)
    env = os.environ | {"LD_PRELOAD": str(library)}
    done = run("tests.envelope.story", STORY, env=env, fresh=True)
    assert done.returncode == 0, done.stderr.decode()
