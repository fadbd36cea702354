"""A peers file that may change while in use."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from xkeymsg.ambient import after_fork
from xkeymsg.display import SafeRepr
from xkeymsg.envelope.admission import Admission
from xkeymsg.errors import ConfigurationError
from xkeymsg.files import decode_file, read_file
from xkeymsg.keys import Recipient, XKey
from xkeymsg.refusals import refusing
from xkeymsg.trust.peers import Peers

__all__ = ("PeersFile",)


class PeersFile(SafeRepr):
    """The peers of a file, as of its last valid version.

        peers = PeersFile("peers.toml")
        opener = Opener(bob, senders=peers)
        peers.reload()                       # once a second, say

    Every answer is of one version of the file. Thread-safe.
    """

    @refusing
    def __init__(self, path: str | Path) -> None:
        """Read the file.

        Raises:
            ConfigurationError: If it cannot be read, or is invalid.
        """
        self.path = Path(path)
        self.error: ConfigurationError | None = None
        """Why the current contents of the file are not in use; None if they are."""
        self._lock = Lock()
        after_fork(self)
        self._used = self._read()
        self._peers = _parse(self._used, self.path)
        self._seen: bytes | None = self._used

    @refusing
    def reload(self) -> bool:
        """Read the file again; return whether the peers in use have changed.

        Cheap enough to call once a second. It compares contents, because time and size stay equal
        when a file is written twice within a clock tick. Replace the file atomically (rename)
        instead of writing into it, or a partial file may be read.

        Raises:
            ConfigurationError: If it cannot be read, or is invalid. The last valid peers stay in
                use; this is raised once until the file changes again, and `error` keeps it.
        """
        with self._lock:
            try:
                content = self._read()
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

    def _read(self) -> bytes:
        return read_file(self.path, ConfigurationError)[0]

    def _refuse(self, content: bytes | None, error: ConfigurationError) -> bool:
        known = self.error is not None and content == self._seen and str(error) == str(self.error)
        self._seen, self.error = content, error
        if known:
            return False
        raise error

    @property
    def current(self) -> Peers:
        """The peers in use, an immutable snapshot of one version."""
        return self._peers

    @property
    def revision(self) -> int | None:
        """None: a file has no revision."""
        return None

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
            UnknownKeyError: If the peer is unknown, or nobody holds the permission.
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


def _parse(content: bytes, path: Path) -> Peers:
    return Peers.parse(decode_file(content, str(path), ConfigurationError), source=str(path))
