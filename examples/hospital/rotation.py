"""A receiver changes its key while messages arrive, and reads those sealed to either."""

from __future__ import annotations

from examples.hospital.problems import Problems
from examples.hospital.receivers import Receiver
from examples.hospital.screen import Rows, table
from xkeymsg import ANYONE, Keyring, NotARecipientError, Opener, Trust, TrustError, XKey

__all__ = ("ROTATING", "TIMES", "SeenKeys", "short_key", "show_rotation")

ROTATING = "research"
INTERVAL = 2
TIMES = f'interval = "{INTERVAL}s"\nlead = "1s"\nretain = "{24 * INTERVAL}s"'
"""The rotating receiver's settings; the defaults are 14 days, 10 minutes and 90 days."""


class SeenKeys:
    """The keys that a sender finds in the directory.

    Args:
        trust: What the sender trusts.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def current(self, role: str) -> XKey | None:
        """Return the key to which messages for a role are sealed now; None without one."""
        try:
            [found] = self._trust.resolve(role)
        except TrustError:
            return None
        return found.key


def short_key(key: XKey | None) -> str:
    """Return the beginning of a key."""
    return "-" if key is None else f"{str(key)[:8]}…"


def show_rotation(receiver: Receiver, envelopes: list[bytes], problems: Problems) -> None:
    """Show that the receiver read the messages sealed to its old key, and those to its new one."""
    print(
        f"\n{receiver.role} has changed its key meanwhile, as it does every {INTERVAL} seconds here"
        " (by default,\nevery 14 days):\n"
    )
    found = {
        each.active.public: opened_by(each, envelopes, "ehr.>") for each in receiver.keyrings()
    }
    used = sorted((key for key, opened in found.items() if opened), key=lambda key: found[key][0])
    rows: Rows = [("key", "sealed to it", "of these read")]
    sealed = read = 0
    for key in used:
        names = [name for _, name in found[key]]
        known = sum(name in receiver.seen for name in names)
        rows.append((short_key(key), f"{len(names):,}", f"{known:,}"))
        sealed, read = sealed + len(names), read + known
    rows.append(("together", f"{sealed:,}", f"{read:,}"))
    for line in table(rows):
        print(f"  {line}")
    name = receiver.role
    problems.check(len(used) > 1, f"{name} has not changed its key")
    problems.check(
        sealed == read == receiver.expected,
        f"{name}: {sealed} messages are sealed to its keys, {read} of these were read",
    )


def opened_by(keyring: Keyring, envelopes: list[bytes], subject: str) -> list[tuple[int, str]]:
    """Return the positions and ids of the messages that a key opens."""
    opener, found = Opener(keyring, senders=ANYONE), []
    for position, envelope in enumerate(envelopes):
        try:
            view = opener.open_document(envelope, subject=subject)
        except NotARecipientError:
            continue
        found.append((position, view.message_id.hex()))
    return found
