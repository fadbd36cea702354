"""Writing a peer into the text of a file of peers, or taking it out; the rest stays as it is.

What is edited is the text, not a model of it: every other byte stays, comments and order with them.
The result is then read, and has to say what was meant; TOML can be written in ways that are not
edited here, and those are refused.
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
    """Return the text of a file of peers with one more peer in it, or with one replaced.

    A new peer stands at the end. One that is replaced stays where it is, and so do the comments
    around it, but not those between its settings, which may say of a key how it was verified.

    Args:
        text: The file as it is; empty for a new one.
        peer: What it is to say.
        source: The name of the file, for errors.
        replace: Whether the peer may be there already.

    Raises:
        ConfigurationError: If the text cannot be used, the peer is there already, what is to be
            written is not right, or the file is written in a way that is not edited here.
    """
    entry = list(_entry(peer))
    [meant] = Peers.parse("\n".join(entry), source).peers.values()
    empty = all(_NOTHING.match(line) for line in _LINE.findall(text))
    old = Peers([]) if empty else Peers.parse(text, source)
    there = peer.name in old.peers
    if there and not replace:
        raise ConfigurationError(f"{source} has {peer.name} already; --replace changes it")
    try:
        wanted = Peers(
            (dict(old.peers) | {peer.name: meant}).values(), always_to=old.always_to_names
        )
    except ConfigurationError as error:  # always_to would stand for nobody
        raise ConfigurationError(f"{source}: {error}") from None
    line_end = "\r\n" if "\r\n" in text else "\n"
    if there:
        new = _replaced(text, peer.name, entry[1:], line_end)
    else:
        gap = "" if not text else line_end if text.endswith("\n") else line_end * 2
        new = text + gap + "".join(line + line_end for line in entry)
    return _checked(new, wanted, source)


def without_peer(text: str, name: str, source: str) -> str:
    """Return the text of a file of peers without one of them.

    Its table goes, with the comments between its settings; those around it stay.

    Args:
        text: The file as it is.
        name: The peer, which is in it.
        source: The name of the file, for errors.

    Raises:
        ConfigurationError: If the text cannot be used, the peer is the last, `always_to` would
            stand for nobody, or the file is written in a way that is not edited here.
    """
    old = Peers.parse(text, source)
    rest = [peer for peer in old.peers.values() if peer.name != name]
    if not rest:
        raise ConfigurationError(f"{source} would have no peers: add another one before")
    try:
        wanted = Peers(rest, always_to=old.always_to_names)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    lines = _LINE.findall(text)
    place = _find(lines, name)
    if place is not None:
        start, stop = place
        if stop < len(lines) and not lines[stop].strip():
            stop += 1  # the blank line between it and the next
        del lines[start:stop]
    return _checked("".join(lines), wanted, source)


def _checked(new: str, wanted: Peers, source: str) -> str:
    """Return the new text, if it says what was meant."""
    if not _says(new, wanted, source):
        raise ConfigurationError(
            f"{source} is not written with a table [peers.NAME] for each peer: edit it by hand"
        )
    return new


def _says(text: str, wanted: Peers, source: str) -> bool:
    try:
        return Peers.parse(text, source) == wanted
    except ConfigurationError:
        return False


def _replaced(text: str, name: str, settings: list[str], line_end: str) -> str:
    """Return the text with other settings below the header of a peer."""
    lines = _LINE.findall(text)
    place = _find(lines, name)
    if place is None:
        return text  # which does not say what was meant, and is refused
    start, stop = place
    if not lines[start].endswith("\n"):
        lines[start] += line_end
    return "".join([*lines[: start + 1], *(s + line_end for s in settings), *lines[stop:]])


def _find(lines: list[str], name: str) -> tuple[int, int] | None:
    """Return where the table of a peer begins, and what stands behind it."""
    header = re.compile(rf"\s*\[\s*{_key('peers')}\s*\.\s*{_key(name)}\s*\]\s*(?:#.*)?\n?\Z")
    start = next((n for n, line in enumerate(lines) if header.match(line)), None)
    if start is None:
        return None
    stop = start + 1
    while stop < len(lines) and not _HEADER.match(lines[stop]):
        stop += 1
    while _NOTHING.match(lines[stop - 1]) and stop > start + 1:
        stop -= 1  # blank lines and comments here belong to what follows
    return start, stop


def _key(name: str) -> str:
    """Return a pattern of a key: bare, or quoted in one of two ways."""
    return "(?:" + "|".join(re.escape(quote + name + quote) for quote in ("", '"', "'")) + ")"


def _entry(peer: Peer) -> Iterator[str]:
    """Return the lines of a peer's table."""
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
