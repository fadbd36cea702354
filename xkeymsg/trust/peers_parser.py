"""Parser of the peers file, in TOML.

    always_to = ["escrow"]          # names, or perm:…: every message is also sealed to these

    [peers.bob]
    xkey = "X…"                     # or xkeys = ["X…", "X…"]
    user = "U…"                     # the user that this peer's messages must name
    permissions = ["clinic"]        # perm:clinic includes bob
    subjects = ["ehr.>"]            # the subjects that bob may send on; none by default
    always_signs = true             # refuse messages that the user has not signed

Unknown settings are errors: a mistyped setting would otherwise have no effect. A seed anywhere in
the file is an error too; it is reported without showing it.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from xkeymsg.envelope.subject import REPLIES, matcher
from xkeymsg.errors import ConfigurationError, KeyFormatError
from xkeymsg.fields.files import PERMISSION
from xkeymsg.keys import Recipient, XKey, decode_user
from xkeymsg.suggestions import did_you_mean
from xkeymsg.text import SECRETIVE, is_texts, parse_toml

__all__ = ("Peer", "parse_peers", "shown")

_SEED: Final = re.compile(r"(?<![A-Za-z0-9])S[A-Z2-7]{57}(?![A-Za-z0-9])")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SETTINGS: Final = ("peers", "always_to")
_PEER: Final = ("xkey", "xkeys", "user", "permissions", "subjects", "always_signs")


class Peer(NamedTuple):
    """One peer of the file."""

    name: str
    xkeys: tuple[XKey, ...]
    user: str | None = None
    """The public nkey `U…` that its messages must name."""
    permissions: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    """Subjects, and NATS patterns of them, on which it may send."""
    always_signs: bool = False

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """The recipients to seal to."""
        return tuple(Recipient(xkey, self.user) for xkey in self.xkeys)


def parse_peers(text: str, source: str) -> tuple[list[Peer], list[str]]:
    """Return the peers of a text, in their order, and the names in `always_to`.

    Raises:
        ConfigurationError: If the text is invalid; names `source`, the table, the key and what was
            expected.
        TypeError: If `text` is not a str.
    """
    settings = _toml(text, source)
    _check_keys(settings, _SETTINGS, source)
    tables = settings.get("peers")
    if not isinstance(tables, dict) or not tables:
        raise ConfigurationError(f"{source}: expected at least one table [peers.NAME]")
    peers = [_peer(name, table, source) for name, table in tables.items()]
    return peers, _texts(settings, "always_to", source)


# `where` is the prefix of errors.


def _toml(text: str, source: str) -> dict[str, Any]:
    if not isinstance(text, str):
        raise TypeError(f"peers are parsed from a str, not {type(text).__name__}")
    if seed := _SEED.search(text):
        line = text.count("\n", 0, seed.start()) + 1
        raise ConfigurationError(
            f"{source}, line {line}: this is a secret seed; expected a public key: remove the seed,"
            " and make a new key if others could read this file"
        )
    return parse_toml(text, source, ConfigurationError)


def _peer(name: str, table: object, source: str) -> Peer:
    if not _NAME.fullmatch(name) or SECRETIVE.search(name):
        raise ConfigurationError(
            f"{source}: [peers]: invalid peer name {shown(name)}: expected at most 64 letters,"
            " digits, . _ - and nothing that looks like a key"
        )
    where = f"{source}: [peers.{name}]"
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where}: expected a table with the peer's settings")
    _check_keys(table, _PEER, where)
    user = _user(table.get("user"), where)
    always_signs = table.get("always_signs", False)
    if not isinstance(always_signs, bool):
        raise ConfigurationError(f"{where}: always_signs must be true or false")
    if always_signs and user is None:
        raise ConfigurationError(f"{where}: always_signs requires user")
    return Peer(
        name=name,
        xkeys=_xkeys(table, where),
        user=user,
        permissions=_permissions(table, where),
        subjects=_subjects(table, where),
        always_signs=always_signs,
    )


def _xkeys(table: dict[str, Any], where: str) -> tuple[XKey, ...]:
    if ("xkey" in table) == ("xkeys" in table):
        raise ConfigurationError(f"{where}: expected exactly one of xkey and xkeys")
    key = "xkey" if "xkey" in table else "xkeys"
    texts = [table["xkey"]] if key == "xkey" else _texts(table, "xkeys", where)
    if not texts or not all(isinstance(text, str) for text in texts):
        expected = "a public key X…" if key == "xkey" else "an array of public keys X…"
        raise ConfigurationError(f"{where}: {key} must be {expected}")
    try:
        xkeys = tuple(XKey.parse(text) for text in texts)
    except KeyFormatError as error:
        raise ConfigurationError(f"{where}: {key}: {error}") from None
    if len(set(xkeys)) < len(xkeys):
        raise ConfigurationError(f"{where}: {key} lists a key twice")
    return xkeys


def _user(user: object, where: str) -> str | None:
    if user is None:
        return None
    if not isinstance(user, str):
        raise ConfigurationError(f"{where}: user must be a public key U…")
    try:
        decode_user(user)
    except KeyFormatError as error:
        raise ConfigurationError(f"{where}: user: {error}") from None
    return user


def _permissions(table: dict[str, Any], where: str) -> tuple[str, ...]:
    permissions = _texts(table, "permissions", where)
    for name in permissions:
        if not PERMISSION.fullmatch(name):
            raise ConfigurationError(
                f"{where}: invalid permission name {shown(name)} (allowed: a-z 0-9 . _ -)"
            )
    return tuple(dict.fromkeys(permissions))


def _subjects(table: dict[str, Any], where: str) -> tuple[str, ...]:
    subjects = _texts(table, "subjects", where)
    for subject in subjects:
        try:
            matcher(subject)
        except ConfigurationError:
            raise ConfigurationError(
                f"{where}: subjects: {shown(subject)} is not a valid subject or pattern"
            ) from None
        if subject.split(".")[0] == REPLIES:
            raise ConfigurationError(f"{where}: subjects: {REPLIES} is reserved for replies")
    return tuple(dict.fromkeys(subjects))


def _texts(table: dict[str, Any], key: str, where: str) -> list[str]:
    value = table.get(key, [])
    if not is_texts(value):
        raise ConfigurationError(f"{where}: {key} must be an array of strings")
    return value


def _check_keys(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = did_you_mean(key, known) or f"; known: {', '.join(known)}"
            raise ConfigurationError(f"{where}: unknown setting {shown(key)}{near}")


def shown(text: str) -> str:
    """Quote a text for an error; show only its length if it could be (part of) a secret."""
    if len(text) > 64 or SECRETIVE.search(text):
        return f"a text of {len(text)} characters"
    return repr(text)
