"""Tokens: modules, sessions and logins; the only module that starts python-pkcs11.

python-pkcs11 initializes a module for one thread only, and two threads crash the process: one lock
for each module guards every call. After a token has been removed and inserted again, or after a
fork, a module has to be initialized again, which ends the sessions with all its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any, Final, TypeVar

import pkcs11
from pkcs11 import TokenFlag
from pkcs11.exceptions import (
    AttributeSensitive,
    AttributeValueInvalid,
    FunctionNotSupported,
    KeyTypeInconsistent,
    MechanismInvalid,
    PinExpired,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
    TemplateInconsistent,
    UserAlreadyLoggedIn,
)

from xkeymsg.ambient import after_fork, monotonic
from xkeymsg.errors import KeyStoreError, PinError
from xkeymsg.key_stores.command import check_program
from xkeymsg.text import path_text

__all__ = ("Token", "find_token", "load_module", "share_modules")

_T = TypeVar("_T")
_PROXIES: Final = ("/usr/lib/*/p11-kit-proxy.so", "/usr/lib*/p11-kit-proxy.so")
_PAUSE: Final = 5.0
"""Seconds between two attempts to reach a token that fails; each ends the sessions of others."""
_REFUSED: Final = (PinIncorrect, PinInvalid, PinLenRange, PinLocked, PinExpired)
_LASTING: Final = (
    AttributeSensitive, AttributeValueInvalid, FunctionNotSupported, KeyTypeInconsistent,
    MechanismInvalid, TemplateInconsistent,
)  # fmt: skip
"""What a token cannot do; connecting again does not change that."""


class _Module:
    """A PKCS#11 module, initialized once in this process."""

    def __init__(self, path: str) -> None:
        check_program(Path(path))
        self.path = path
        self.lock = RLock()
        self.generation = 0
        self.tokens: dict[tuple[str, str], Token] = {}
        self.forked = False
        """Whether this process is a child in which the module is not initialized yet."""
        self._reset_at = -_PAUSE
        try:
            self._library = pkcs11.lib(path)
        except Exception as error:  # noqa: BLE001 - also that of the dynamic linker
            raise KeyStoreError(
                f"cannot load the PKCS#11 module {path_text(path)}: {type(error).__name__}"
            ) from None
        after_fork(self)

    def _after_fork(self) -> None:
        self.lock = RLock()
        self.forked = True

    def initialize_again(self) -> bool:
        """End all sessions and initialize the module; not more often than every five seconds."""
        if monotonic() < self._reset_at + _PAUSE and not self.forked:
            return False
        self._reset_at, self.forked = monotonic(), False
        self.generation += 1
        with suppress(PKCS11Error):  # in a child, it may not be initialized
            self._library.finalize()
        self._library.initialize()
        return True

    def find(self, attributes: Mapping[str, str]) -> list[Any]:
        """Return the tokens with these attributes, ordered by label and serial number.

        Raises:
            KeyStoreError: If they cannot be listed.
        """
        found = [each for each in self._present() if _matches(each, attributes)]
        if not found and self.initialize_again():  # it may have been inserted since
            found = [each for each in self._present() if _matches(each, attributes)]
        return found

    def _present(self) -> list[Any]:
        """Return the initialized tokens that are present.

        Raises:
            KeyStoreError: If they cannot be listed.
        """
        try:
            if self.forked:
                self.initialize_again()
            try:
                found = self._library.get_tokens()
            except PKCS11Error:
                if not self.initialize_again():
                    raise
                found = self._library.get_tokens()
            tokens = [each for each in found if TokenFlag.TOKEN_INITIALIZED in each.flags]
        except PKCS11Error as error:
            raise KeyStoreError(f"the tokens cannot be listed: {type(error).__name__}") from None
        return sorted(tokens, key=lambda each: (each.label, each.serial))


_modules: Final[dict[str, _Module]] = {}
_loading: Final = RLock()
_shared: Final = set[str]()
"""The only module that may be loaded, once OpenSSL uses modules."""


def load_module(path: str | None) -> _Module:
    """Return the module at a path, or else the proxy of p11-kit.

    Raises:
        KeyStoreError: If there is no such module, or it cannot be loaded.
    """
    path = path or _proxy()
    if not path.startswith("/"):
        raise KeyStoreError("pkcs11: module-path must be an absolute path")
    with _loading:
        if _shared and path not in _shared:
            raise _two_owners(path)
        if path not in _modules:
            _modules[path] = _Module(path)
        return _modules[path]


def share_modules() -> str:
    """Return the path of p11-kit's proxy, the only module from now on: OpenSSL uses modules, too.

    Two users of a module that is not behind the proxy crash the process.

    Raises:
        KeyStoreError: If there is no proxy, or another module is loaded.
    """
    path = _proxy()
    with _loading:
        for other in _modules.keys() - {path}:
            raise _two_owners(other)
        _shared.add(path)
    return path


def _two_owners(path: str) -> KeyStoreError:
    return KeyStoreError(
        f"pkcs11: module-path={path_text(path)} cannot be used beside a TLS key on a token:"
        " register the module with p11-kit"
    )


def _proxy() -> str:
    found = [each for pattern in _PROXIES for each in sorted(Path("/").glob(pattern[1:]))]
    if not found:
        raise KeyStoreError("install p11-kit (p11-kit-proxy.so), or add module-path=PATH")
    return str(found[0])


def find_token(
    module: _Module,
    attributes: Mapping[str, str],
    pin: Callable[[], str] | None,
    *,
    try_pin: bool = False,
) -> Token:
    """Return the only token with these attributes, logged in.

    Args:
        module: The module.
        attributes: `token`, `serial`, `manufacturer` or `model`.
        pin: Reads the PIN.
        try_pin: Whether to try the PIN even if the token reports a wrong one before.

    Raises:
        KeyStoreError: If no token or several match, or it cannot be used.
        PinError: If the token refuses the PIN, or may be locked by one more wrong one.
    """
    with module.lock:
        found = module.find(attributes)
        if not found:
            raise KeyStoreError("no token matches: is it inserted, and its module registered?")
        if len(found) > 1:
            raise KeyStoreError(f"{len(found)} tokens match: add serial= to the URI")
        name = (found[0].label, found[0].serial.decode("ascii", "replace"))
        token = module.tokens.setdefault(name, Token(module, *name))
        token.log_in(found[0], pin, try_pin=try_pin)
        return token


def _matches(token: Any, attributes: Mapping[str, str]) -> bool:
    actual = {
        "token": token.label,
        "serial": token.serial.decode("ascii", "replace"),
        "manufacturer": token.manufacturer_id,
        "model": token.model,
    }
    return all(actual[name] == value for name, value in attributes.items())


class Token:
    """A token with a session; it opens another one when the token was gone.

    Args:
        module: Its module.
        label: Its label.
        serial: Its serial number.
    """

    def __init__(self, module: _Module, label: str, serial: str) -> None:
        self.label = label
        self.serial = serial
        self._module = module
        self._pin: Callable[[], str] | None = None
        self._known_pin: str | None = None
        self._refused_pin: str | None = None
        self._session: Any = None
        self._generation = -1

    @property
    def generation(self) -> int:
        """A number that changes when the handles of objects become invalid."""
        return self._module.generation

    def log_in(self, token: Any, pin: Callable[[], str] | None, *, try_pin: bool = False) -> None:
        """Open a session, unless there is one.

        Args:
            token: The token, as it is present now.
            pin: Reads the PIN; None for the one that is known.
            try_pin: Whether to try it even if the token reports a wrong one before.

        Raises:
            KeyStoreError: If the token fails.
            PinError: If it refuses the PIN, or may be locked by one more wrong one.
        """
        if pin is not None:
            self._pin, self._known_pin = pin, None
        if not self._is_connected:
            try:
                self._session = self._opened(token, try_pin=try_pin)
            except PKCS11Error as error:
                reason = type(error).__name__
                raise KeyStoreError(
                    f"cannot log in to the token {self.label!a}: {reason}"
                ) from None
            self._generation = self._module.generation

    @property
    def _is_connected(self) -> bool:
        module = self._module
        current = self._generation == module.generation and not module.forked
        return self._session is not None and current

    def run(self, work: Callable[[Any], _T]) -> _T:
        """Return what `work` returns for a session; if the token was gone, log in again.

        Raises:
            KeyStoreError: If the token fails.
            PinError: If it refuses the PIN, or may be locked by one more wrong one.
        """
        with self._module.lock:
            try:
                return work(self._current())
            except _LASTING as error:
                raise KeyStoreError(f"the token cannot do that: {type(error).__name__}") from None
            except PKCS11Error as error:
                reason = type(error).__name__
            try:
                if self._module.initialize_again():
                    return work(self._current())
            except PKCS11Error as error:
                reason = type(error).__name__
            raise KeyStoreError(f"the token {self.label!a} failed: {reason}")

    def write(self, work: Callable[[Any], _T]) -> _T:
        """Return what `work` returns for a session that may create and delete objects."""
        with self._module.lock:
            self.run(lambda session: list(session.get_objects()))  # log in again, if necessary
            try:
                session = self._current().token.open(rw=True)  # logged in, as all sessions are
                try:
                    return work(session)
                finally:
                    session.close()
            except PKCS11Error as error:
                reason = type(error).__name__
            raise KeyStoreError(f"the token {self.label!a} cannot be written: {reason}")

    def _current(self) -> Any:
        if not self._is_connected:
            attributes = {"token": self.label, "serial": self.serial}
            found = self._module.find(attributes)
            if not found:
                raise KeyStoreError(f"the token {self.label!a} is not present")
            self.log_in(found[0], None)
        return self._session

    def _opened(self, token: Any, *, try_pin: bool) -> Any:
        flags = token.flags
        if TokenFlag.LOGIN_REQUIRED not in flags:
            return token.open()
        if TokenFlag.USER_PIN_LOCKED in flags:
            raise PinError(
                f"the PIN of the token {self.label!a} is locked: its administrator resets it"
            )
        tried = TokenFlag.USER_PIN_COUNT_LOW | TokenFlag.USER_PIN_FINAL_TRY
        if flags & tried and not try_pin:
            raise PinError(
                f"a wrong PIN was entered at the token {self.label!a}, and a few more lock it:"
                " correct the PIN, then run xkeymsg key show --store STORE --try-pin"
            )
        try:
            return token.open(user_pin=self._secret(flags))
        except UserAlreadyLoggedIn:
            return token.open()
        except _REFUSED as error:
            self._refused_pin, self._known_pin = self._known_pin, None
            reason = type(error).__name__
        raise PinError(f"the token {self.label!a} refused the PIN: {reason}")

    def _secret(self, flags: TokenFlag) -> Any:
        if TokenFlag.PROTECTED_AUTHENTICATION_PATH in flags:
            return pkcs11.PROTECTED_AUTH
        if self._known_pin is None:
            if self._pin is None:
                raise KeyStoreError(
                    f"the token {self.label!a} requires a PIN: add pin-source=systemd:NAME or"
                    " pin-source=file:PATH"
                )
            self._known_pin = self._pin()
        if self._known_pin == self._refused_pin:
            raise PinError(f"the token {self.label!a} refused this PIN before")
        return self._known_pin
