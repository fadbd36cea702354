"""The Resolver protocol: sender admission and name resolution for a client.

Its source is a peers file, chains of NATS JWTs, or a directory that changes while it is read. Any
source fails closed: an unknown name is an error, never an empty answer.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

from xkeymsg.envelope.admission import Admission, SenderTrust
from xkeymsg.keys import Recipient, XKey

__all__ = ("PERMISSION", "Resolver")

PERMISSION: Final = "perm:"
"""Prefix of the name of all holders of a permission: `perm:audit`."""


@runtime_checkable
class Resolver(SenderTrust, Protocol):
    """A source of trust with names. Thread-safe; each answer is consistent while it changes."""

    @property
    def revision(self) -> int | None:
        """The revision of the source, sent in the envelope; None if it has no revisions."""

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """Return the verdict on a sender, as `SenderTrust.admit` does, or None to refuse it.

        A source that knows revocations raises `SenderRevokedError`, which no message waits for.
        Replies (`_XKM.`) are never admitted here: a requester knows whose reply it expects.
        """

    def vouch(self, sender: XKey) -> Admission | None:
        """Return the verdict on a key for any subject, to check its replies by.

        None if the key is unknown. It is asked when the request is sent and when a reply arrives;
        `SenderRevokedError` refuses both.
        """

    def admits_xkv1(self, sender: XKey, subject: str) -> bool:
        """Return whether a key may send xkv1 on a subject.

        The broker alone vouches for the subject: xkv1 does not seal it. A key that is bound to a
        user, or has to sign, is refused: xkv1 names no user and has no signature.
        """

    def resolve(self, name: str) -> tuple[Recipient, ...]:
        """Return all keys of a peer, `bob`, or of all holders of a permission, `perm:audit`.

        Never empty.

        Raises:
            UnknownKeyError: If the peer is unknown, or nobody holds the permission.
            AmbiguousNameError: If the name matches more than one peer.
            TypeError: If `name` is not a str.
        """

    def always_to(self) -> tuple[Recipient, ...]:
        """Return the recipients that every message is also sealed to; usually empty."""
