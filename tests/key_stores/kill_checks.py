"""Kill a process before each line of each change of a key store, then check the store.

    python -m tests.key_stores.kill_checks STORE [STEP]

STORE is an address for several keys, without any; with a STEP, only every STEP-th line is one to be
killed before, from a line chosen at random. Each change runs in a child, which SIGKILL ends
before its first, second, third… line of the code that writes; a second child reads the store,
repeats the change, and prepares the store for the next. The parent never opens the store.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Any, Final

from xkeymsg import XKeyPair
from xkeymsg.key_stores.opening import list_certificates, list_keys
from xkeymsg.key_stores.protocol import WritableProvider
from xkeymsg.key_stores.providers import parse_store
from xkeymsg.nkey import Prefix

WRITING: Final = ("key_stores/file.py", "key_stores/ownership.py", "trust/stores/file.py")
ON_TOKENS: Final = {"generate", "create", "put", "destroy", "_destroy_public", "_certificates"}
"""The functions of `key_stores/pkcs11.py` that write objects, or run between two such writes."""
PAIRS: Final = [XKeyPair(bytes([number]) * 32) for number in (1, 2)]
OTHER, OWN = (str(pair.public) for pair in PAIRS)
BEFORE: Final = {OTHER: f"old.{OTHER}", OWN: f"old.{OWN}"}


def in_child(work: Callable[[], object]) -> int:
    """Return the exit code of a child that does this, or the negative number of a signal."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            work()
            code = 0
        except BaseException as error:  # noqa: BLE001
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_before(line: int, work: Callable[[], object]) -> Callable[[], None]:
    """Return work that SIGKILL ends before a line of the code that writes."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        code = frame.f_code
        on_token = code.co_filename.endswith("/pkcs11.py") and code.co_name in ON_TOKENS
        if not (on_token or code.co_filename.endswith(WRITING)):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def run() -> None:
        sys.settrace(trace)
        work()

    return run


class Checks:
    """The changes of a store, each with what must hold after an interruption."""

    def __init__(self, store: str) -> None:
        place = parse_store(store)
        assert isinstance(place.provider, WritableProvider)
        self.store, self.provider, self.address = store, place.provider, place.address

    def held(self) -> dict[str, str | None]:
        found: Mapping[str, str] = list_certificates(self.store)
        return {key.public(): found.get(key.public()) for key in list_keys(self.store)}

    def reset(self) -> None:
        """Leave two keys, each with its first certificate."""
        with self.provider.lock(self.address):
            for public in self.held():
                self.provider.delete(self.address, public)
            for pair in PAIRS:
                self.provider.put(self.address, pair.seed())
                self.provider.put_certificate(
                    self.address, str(pair.public), BEFORE[str(pair.public)]
                )
        assert self.held() == BEFORE

    def after(self, change: str) -> None:
        """Check the store after an interrupted change, and reset it."""
        getattr(self, f"after_{change}")()
        self.reset()

    def create(self) -> None:
        with self.provider.lock(self.address):
            self.provider.create(self.address, Prefix.CURVE)

    def after_create(self) -> None:
        held = self.held()
        assert held.items() >= BEFORE.items(), held
        assert len(held) <= 3, held
        self.create()
        assert len(self.held()) == len(held) + 1

    def certify(self) -> None:
        with self.provider.lock(self.address):
            self.provider.put_certificate(self.address, OWN, f"new.{OWN}")

    def after_certify(self) -> None:
        assert self.held() in (BEFORE, BEFORE | {OWN: f"new.{OWN}"}), self.held()
        self.certify()
        assert self.held() == BEFORE | {OWN: f"new.{OWN}"}

    def delete(self) -> None:
        with self.provider.lock(self.address):
            self.provider.delete(self.address, OWN)

    def after_delete(self) -> None:
        """A key without its certificate would look like a new one, and become current."""
        rest = {OTHER: BEFORE[OTHER]}
        held = self.held()
        assert held in (BEFORE, rest), held
        if OWN in {*held, *list_certificates(self.store)}:
            self.delete()
        assert self.held() == rest
        assert list_certificates(self.store) == rest


def main(store: str, step: int = 1) -> None:
    checks = Checks(store)
    assert in_child(checks.reset) == 0
    for name in ("create", "certify", "delete"):
        line = -secrets.randbelow(step)
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            line += step
            code = in_child(killed_before(line, getattr(checks, name)))
            assert in_child(partial(checks.after, name)) == 0, (name, line)
        assert code == 0, (name, line)
        assert line > 10, (name, line)
        which = "each" if step == 1 else f"one in {step}"
        print(f"{name}: killed before {which} of {line - step} lines")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(sys.argv[1], *map(int, sys.argv[2:]))
