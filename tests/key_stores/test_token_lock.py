"""One thread at a time calls a PKCS#11 module: a module that records calls which overlap.

python-pkcs11 initializes a module without locking. SoftHSM survives concurrent calls most of the
time, so that no test with a real token fails without the lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.running import DEADLINE

pkcs11 = pytest.importorskip("pkcs11")

from tests.key_stores.inside import isolate_modules  # noqa: E402 - needs python-pkcs11
from xkeymsg.key_stores import pkcs11_token  # noqa: E402

PATH = "/bin/true"
ACTIONS: dict[str, Callable[[Any, Any], object]] = {
    "run": lambda _, token: token.run(lambda session: session.get_objects()),
    "write": lambda _, token: token.write(lambda session: session.get_objects()),
    "find": lambda module, _: pkcs11_token.find_token(module, {"token": "xk"}, None),
}


class FakeModule:
    """A library, its token and its session in one.

    The first call of the thread `holder` returns when another thread waits for the lock, or calls.
    """

    label, serial, manufacturer_id, model = "xk", b"1", "", ""
    flags = pkcs11.TokenFlag.TOKEN_INITIALIZED

    def __init__(self) -> None:
        self.holder: threading.Thread | None = None
        self.held, self.other = threading.Event(), threading.Event()
        self.inside = self.overlapped = False

    @property
    def token(self) -> FakeModule:
        return self

    def get_tokens(self) -> list[FakeModule]:
        self.call()
        return [self]

    def get_objects(self) -> list[object]:
        self.call()
        return []

    def open(self, *, rw: bool = False) -> FakeModule:
        del rw
        self.call()
        return self

    def close(self) -> None:
        self.call()

    def call(self) -> None:
        if threading.current_thread() is not self.holder:
            self.overlapped = self.overlapped or self.inside
            self.other.set()
        elif not self.held.is_set():
            self.inside = True
            self.held.set()
            assert self.other.wait(DEADLINE)
            self.inside = False


class WatchedLock:
    """A lock that tells when another thread than the holder comes to it."""

    def __init__(self, lock: Any, fake: FakeModule) -> None:
        self._lock, self._fake = lock, fake

    def __enter__(self) -> None:
        if threading.current_thread() is not self._fake.holder:
            self._fake.other.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    isolate_modules(monkeypatch)
    made = FakeModule()
    monkeypatch.setattr(pkcs11, "lib", lambda _: made)
    return made


@pytest.mark.parametrize("first", ACTIONS)
@pytest.mark.parametrize("second", ACTIONS)
def test_a_module_is_called_by_one_thread_at_a_time(
    first: str, second: str, fake: FakeModule
) -> None:
    module = pkcs11_token.load_module(PATH)
    token = pkcs11_token.find_token(module, {"token": "xk"}, None)
    module.lock = WatchedLock(module.lock, fake)  # type: ignore[assignment]
    fake.other.clear()
    done: list[str] = []

    def act(name: str) -> None:
        ACTIONS[name](module, token)
        done.append(name)

    holder = fake.holder = threading.Thread(target=act, args=(first,))
    other = threading.Thread(target=act, args=(second,))
    holder.start()
    assert fake.held.wait(DEADLINE)
    other.start()
    for each in (holder, other):
        each.join(DEADLINE)
    assert sorted(done) == sorted((first, second))
    assert not fake.overlapped
