"""Narrows the senders that trust admits to those of one route (docs/spec/trust.md, T-8)."""

from __future__ import annotations

from collections.abc import Iterator

from xkeymsg.envelope.admission import Admission
from xkeymsg.errors import AmbiguousNameError, UnknownKeyError
from xkeymsg.keys import Recipient, XKey, decode_user
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.members import Members
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.resolver import PERMISSION
from xkeymsg.trust.stores.chains import Trust
from xkeymsg.trust.stores.lookup import Lookup
from xkeymsg.trust.stores.peers_file import PeersFile

__all__ = ("RouteSenders",)


class RouteSenders:
    """Admits a sender if trust does, and it has one of these names or permissions.

    Args:
        trust: The peers, or the users of NATS accounts.
        names: Names as in `recipients`: `alice`, `perm:billing`, `insurer/claims`, `U…`. One that
            nobody has, or that is ambiguous, admits nobody.
    """

    def __init__(self, trust: PeersFile | Trust, names: tuple[str, ...]) -> None:
        self.base = trust
        """The trust that this narrows."""
        self._names = names
        self._peers: tuple[Peers | None, frozenset[Recipient]] = None, frozenset()

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """Return the verdict on a sender for a sealed subject, or None to refuse it.

        Raises:
            SenderRevokedError: If its key or user is revoked.
            NotLoadedError: If it is unknown, and the directory has not been read yet.
        """
        if isinstance(trust := self.base, Trust):
            found = trust.admit(sender, subject, at)
            if found is not None and trust.lookup is not None:
                self._look_up(trust.lookup)
            named = set(self._users(trust.members, sender, at // 1000))
        else:
            peers = trust.current
            found = peers.admit(sender, subject, at)
            named = {each.user for each in self._listed(peers) if each.key == sender}
        if found is None or not named:
            return None
        if not found.users:
            return found
        users = found.users & named
        return found._replace(users=users) if users else None

    def _look_up(self, lookup: Lookup) -> None:
        """Verify what the names may stand for: another holder makes a name ambiguous."""
        for name in self._names:
            if not name.startswith(PERMISSION):
                lookup.ask(name)

    def _users(self, members: Members, sender: XKey, at: int) -> Iterator[bytes]:
        """Yield the users with one of the names, of those that have certified an xkey."""
        for identity in members.found(sender):
            if any(self._is(members, identity, name, at) for name in self._names):
                yield decode_user(identity.user)

    def _is(self, members: Members, identity: Identity, name: str, at: int) -> bool:
        if name.startswith(PERMISSION):
            own = members.known.get("")
            held = name.removeprefix(PERMISSION) in identity.permissions
            return held and own is not None and identity.account == own.authority.account
        skew = next(iter(members.known.values())).authority.policy.skew
        try:
            return identity in members.holders(name, at - skew)
        except (AmbiguousNameError, UnknownKeyError):
            return False

    def _listed(self, peers: Peers) -> frozenset[Recipient]:
        """Return the keys of the names."""
        of, listed = self._peers
        if of is not peers:
            found: set[Recipient] = set()
            for name in self._names:
                try:
                    found.update(peers.resolve(name))
                except UnknownKeyError:
                    continue
            listed = frozenset(found)
            self._peers = peers, listed
        return listed
