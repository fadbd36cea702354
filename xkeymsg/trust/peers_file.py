"""A file of peers that may change while it is used; the module of trust that reads files."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from threading import Lock
from typing import Final

from xkeymsg.ambient import after_fork
from xkeymsg.envelope.admission import Admission
from xkeymsg.errors import ConfigurationError
from xkeymsg.keys import Recipient, XKey
from xkeymsg.nkey import is_seed
from xkeymsg.refusals import refusing
from xkeymsg.shown import SafeRepr
from xkeymsg.text import decode_text
from xkeymsg.trust import peers
from xkeymsg.trust.peers_parser import Peer

__all__ = ("MAX_FILE", "Peer", "Peers", "PeersFile", "decode_peers", "read_peers")

MAX_FILE: Final = 1 << 20
"""Bytes of a file of peers."""


class Peers(peers.Peers):
    """Peers with pinned keys, as a Resolver.

        peers = Peers.load("peers.toml")        # a PeersFile, which can be read again
        peers = Peers.parse(text)
        opener = Opener(bob, senders=peers)

    Immutable and thread-safe.
    """

    @staticmethod
    def load(path: str | Path) -> PeersFile:
        """Read a file of peers.

        Raises:
            ConfigurationError: If it cannot be read or used.
        """
        return PeersFile(path)


class PeersFile(SafeRepr):
    """The peers of a file, as they were when it was last read whole and without a fault.

    Every answer is of one version of the file. Thread-safe.
    """

    @refusing
    def __init__(self, path: str | Path) -> None:
        """Read the file.

        Raises:
            ConfigurationError: If it cannot be read or used.
        """
        self.path = Path(path)
        self.error: ConfigurationError | None = None
        """Why the file as it is now is not in use; None if it is."""
        self._lock = Lock()
        after_fork(self)
        self._used = read_peers(self.path)
        self._peers = _parse(self._used, self.path)
        self._seen: bytes | None = self._used

    @refusing
    def reload(self) -> bool:
        """Read the file again if it has changed, and tell whether other peers are in use now.

        Cheap enough to call once a second: the contents are compared, since time and size stay
        equal when a file is written twice within a tick of the clock. Replace the file whole
        (rename) rather than write in it, lest half of it is read.

        Raises:
            ConfigurationError: If it cannot be read or used. The last good peers stay in use; until
                the file changes again this is raised once, and `error` keeps it.
        """
        with self._lock:
            try:
                content = read_peers(self.path)
            except ConfigurationError as error:
                return self._refuse(None, error)
            if content == self._seen:
                return False
            changed = content != self._used
            if changed:
                try:
                    self._peers = _parse(content, self.path)
                except ConfigurationError as error:
                    return self._refuse(content, error)
            self._seen = self._used = content
            self.error = None
            return changed

    def _refuse(self, content: bytes | None, error: ConfigurationError) -> bool:
        known = self.error is not None and content == self._seen and str(error) == str(self.error)
        self._seen, self.error = content, error
        if known:
            return False
        raise error

    @property
    def current(self) -> Peers:
        """The peers in use: what is asked of this object is all of one version."""
        return self._peers

    @property
    def revision(self) -> int | None:
        """None: a file does not count its versions."""
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """As `Peers.warnings`."""
        return self._peers.warnings

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """As `Peers.admit`."""
        return self._peers.admit(sender, subject, at)

    def vouch(self, sender: XKey) -> Admission | None:
        """As `Peers.vouch`."""
        return self._peers.vouch(sender)

    def admits_xkv1(self, sender: XKey, subject: str) -> bool:
        """As `Peers.admits_xkv1`."""
        return self._peers.admits_xkv1(sender, subject)

    def resolve(self, name: str) -> tuple[Recipient, ...]:
        """As `Peers.resolve`.

        Raises:
            UnknownKeyError: If there is no such peer, or nobody holds the permission.
            TypeError: If `name` is not a str.
        """
        return self._peers.resolve(name)

    def always_to(self) -> tuple[Recipient, ...]:
        """As `Peers.always_to`."""
        return self._peers.always_to()

    def _after_fork(self) -> None:
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<PeersFile {str(self.path)!r}: {len(self._peers.peers)}>"


def read_peers(path: Path) -> bytes:
    """Read the bytes of a file of peers.

    Whoever writes it decides who may send, so a file that everybody may write is refused, as is
    one that is none, a pipe for example, on which a reader could wait for ever.

    Raises:
        ConfigurationError: If it cannot be read, everybody may write it, or it is above `MAX_FILE`.
    """
    if is_seed(str(path)):
        raise ConfigurationError("that is a seed, and a file of peers is wanted")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigurationError(f"{path}: not a regular file")
            if mode & stat.S_IWOTH:
                raise ConfigurationError(
                    f"{path} has mode {stat.S_IMODE(mode):04o}: everybody may decide in it who"
                    " sends; chmod o-w it"
                )
            content = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"cannot read {path}: {reason}") from error
    if len(content) > MAX_FILE:
        raise ConfigurationError(f"{path}: a file of peers has at most {MAX_FILE} bytes")
    return content


def decode_peers(content: bytes, path: Path) -> str:
    """Return the text of a file of peers.

    Raises:
        ConfigurationError: If it is not UTF-8.
    """
    try:
        return decode_text(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    # Raised out here: what Python raises would hold the contents.
    raise ConfigurationError(f"{path}, line {line}: not UTF-8")


def _parse(content: bytes, path: Path) -> Peers:
    return Peers.parse(decode_peers(content, path), source=str(path))
