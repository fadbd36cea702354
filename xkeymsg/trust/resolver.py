"""What a client asks about people: who may send, and whom a name stands for.

Behind it stands a file of peers, or a directory that changes while it is read. Whatever is behind
it, it fails closed: what is not known is an error, and never an empty answer.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

from xkeymsg.envelope.admission import Admission, Trust
from xkeymsg.keys import Recipient, XKey

__all__ = ("PERMISSION", "Resolver")

PERMISSION: Final = "perm:"
"""What a name begins with that stands for all who hold a permission: `perm:audit`."""


@runtime_checkable
class Resolver(Trust, Protocol):
    """Who is who. Thread-safe; an answer is whole, also while the source changes."""

    @property
    def revision(self) -> int | None:
        """What the answers are of, for a source that counts; it travels in the envelope."""

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """Return the verdict on a sender, as `Trust.admit` does, or None to refuse it.

        Replies (`_XKM.`) are never admitted here: whoever waits for one knows whom it has asked.
        """

    def vouch(self, sender: XKey) -> Admission | None:
        """Return the verdict on a key whatever the subject: what its answers have to show.

        None where nothing is known of it.
        """

    def admits_xkv1(self, sender: XKey, subject: str) -> bool:
        """Tell whether a key may send xkv1 on a subject.

        It is the broker's word there: xkv1 seals none. A key of which more is known than that it is
        somebody's does not count: xkv1 names no user and has no signature.
        """

    def resolve(self, name: str) -> tuple[Recipient, ...]:
        """Return all keys of a peer, `bob`, or of all who hold a permission, `perm:audit`.

        Never empty.

        Raises:
            UnknownKeyError: If there is no such peer, or nobody holds the permission.
            AmbiguousNameError: If the name stands for more than one.
            TypeError: If `name` is not a str.
        """

    def always_to(self) -> tuple[Recipient, ...]:
        """Return whom every message is sealed to besides, by policy; mostly nobody."""
