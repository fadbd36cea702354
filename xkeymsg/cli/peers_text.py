"""Adding and removing peers in the text of a peers file; the rest is unchanged.

The text is edited, not a model of it, so all other bytes stay the same, including comments and
order. The result is then parsed and must equal the intended peers; forms of TOML that cannot be
edited here are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from xkeymsg.errors import ConfigurationError
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.peers_parser import Peer

__all__ = ("with_peer", "without_peer")

_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_HEADER: Final = re.compile(r"\s*\[")
_NOTHING: Final = re.compile(r"\s*(#.*)?\n?\Z")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\"}


def with_peer(text: str, peer: Peer, source: str, *, replace: bool = False) -> str:
    """Return the text of a peers file with a peer added or replaced.

    A new peer is appended. A replaced one keeps its place and the comments around it, but not those
    between its settings, which may say how a key was verified.

    Args:
        text: The current text; empty for a new file.
        peer: The new peer.
        source: The name of the file, for errors.
        replace: Whether to replace an existing peer.

    Raises:
        ConfigurationError: If the text or the peer is invalid, the peer exists already, or the file
            has a form that cannot be edited here.
    """
    entry = list(_entry(peer))
    [meant] = Peers.parse("\n".join(entry), source).peers.values()
    empty = all(_NOTHING.match(line) for line in _LINE.findall(text))
    old = Peers([]) if empty else Peers.parse(text, source)
    there = peer.name in old.peers
    if there and not replace:
        raise ConfigurationError(f"{source} already has {peer.name}; use --replace to change it")
    try:
        wanted = Peers(
            (dict(old.peers) | {peer.name: meant}).values(), always_to=old.always_to_names
        )
    except ConfigurationError as error:  # a name in always_to would be unknown
        raise ConfigurationError(f"{source}: {error}") from None
    line_end = "\r\n" if "\r\n" in text else "\n"
    if there:
        new = _replaced(text, peer.name, entry[1:], line_end)
    else:
        gap = "" if not text else line_end if text.endswith("\n") else line_end * 2
        new = text + gap + "".join(line + line_end for line in entry)
    return _checked(new, wanted, source)


def without_peer(text: str, name: str, source: str) -> str:
    """Return the text of a peers file with a peer removed.

    Its table is removed, including the comments between its settings; those around it stay.

    Args:
        text: The current text.
        name: An existing peer.
        source: The name of the file, for errors.

    Raises:
        ConfigurationError: If the text is invalid, the peer is the last, a name in `always_to`
            would be unknown, or the file has a form that cannot be edited here.
    """
    old = Peers.parse(text, source)
    rest = [peer for peer in old.peers.values() if peer.name != name]
    if not rest:
        raise ConfigurationError(f"{source} would have no peers: add another one first")
    try:
        wanted = Peers(rest, always_to=old.always_to_names)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    lines = _LINE.findall(text)
    place = _find(lines, name)
    if place is not None:
        start, stop = place
        if stop < len(lines) and not lines[stop].strip():
            stop += 1  # the blank line before the next table
        del lines[start:stop]
    return _checked("".join(lines), wanted, source)


def _checked(new: str, wanted: Peers, source: str) -> str:
    """Return the new text if it parses to the intended peers."""
    if not _says(new, wanted, source):
        raise ConfigurationError(
            f"{source} does not have one table [peers.NAME] per peer: edit it by hand"
        )
    return new


def _says(text: str, wanted: Peers, source: str) -> bool:
    try:
        return Peers.parse(text, source) == wanted
    except ConfigurationError:
        return False


def _replaced(text: str, name: str, settings: list[str], line_end: str) -> str:
    """Return the text with the settings below a peer's header replaced."""
    lines = _LINE.findall(text)
    place = _find(lines, name)
    if place is None:
        return text  # not the intended peers, so `_checked` refuses it
    start, stop = place
    if not lines[start].endswith("\n"):
        lines[start] += line_end
    return "".join([*lines[: start + 1], *(s + line_end for s in settings), *lines[stop:]])


def _find(lines: list[str], name: str) -> tuple[int, int] | None:
    """Return the first line of a peer's table, and the line after its last."""
    header = re.compile(rf"\s*\[\s*{_key('peers')}\s*\.\s*{_key(name)}\s*\]\s*(?:#.*)?\n?\Z")
    start = next((n for n, line in enumerate(lines) if header.match(line)), None)
    if start is None:
        return None
    stop = start + 1
    while stop < len(lines) and not _HEADER.match(lines[stop]):
        stop += 1
    while _NOTHING.match(lines[stop - 1]) and stop > start + 1:
        stop -= 1  # trailing blank lines and comments belong to the next table
    return start, stop


def _key(name: str) -> str:
    """Return a pattern for a TOML key: bare, or quoted in either way."""
    return "(?:" + "|".join(re.escape(quote + name + quote) for quote in ("", '"', "'")) + ")"


def _entry(peer: Peer) -> Iterator[str]:
    """Yield the lines of a peer's table."""
    name = peer.name if _PLAIN.fullmatch(peer.name) else _text(peer.name)
    yield f"[peers.{name}]"
    if len(peer.xkeys) == 1:
        yield f"xkey = {_text(str(peer.xkeys[0]))}"
    else:
        yield f"xkeys = {_texts(map(str, peer.xkeys))}"
    if peer.user is not None:
        yield f"user = {_text(peer.user)}"
    if peer.permissions:
        yield f"permissions = {_texts(peer.permissions)}"
    if peer.subjects:
        yield f"subjects = {_texts(peer.subjects)}"
    if peer.always_signs:
        yield "always_signs = true"


def _text(text: str) -> str:
    escaped = (
        _ESCAPES.get(each) or (each if each.isprintable() else f"\\U{ord(each):08x}")
        for each in text
    )
    return f'"{"".join(escaped)}"'


def _texts(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"
