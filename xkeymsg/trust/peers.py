"""Peers with pinned keys: sender admission and name resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

from xkeymsg import nkey
from xkeymsg.arguments import Immutable
from xkeymsg.envelope.admission import Admission
from xkeymsg.envelope.subject import matcher
from xkeymsg.errors import ConfigurationError, UnknownKeyError
from xkeymsg.files import read_text
from xkeymsg.keys import Recipient, XKey
from xkeymsg.refusals import refusing
from xkeymsg.suggestions import did_you_mean
from xkeymsg.trust.peers_parser import Peer, parse_peers, shown
from xkeymsg.trust.resolver import PERMISSION

__all__ = ("Peers",)


class _Claim(NamedTuple):
    """A peer's claim on a key: the subjects it sends on, and its user."""

    sends_on: Callable[[str], bool]
    admission: Admission


class Peers(Immutable):
    """A Resolver for peers with pinned keys.

        peers = Peers.load("peers.toml")
        opener = Opener(bob, senders=peers)

    Immutable and thread-safe; a `PeersFile` follows a file that changes.
    """

    def __init__(self, peers: Iterable[Peer], *, always_to: Iterable[str] = ()) -> None:
        """Initialize with checked peers; use `parse` or `load` for a file.

        Raises:
            ConfigurationError: If `always_to` has an unknown name.
        """
        self.peers: Mapping[str, Peer] = MappingProxyType({peer.name: peer for peer in peers})
        """The peers by name, in the order of the file."""
        self.always_to_names = tuple(always_to)
        """The names that every message is also sealed to, as in the file."""
        self._names = {name: peer.recipients for name, peer in self.peers.items()}
        for peer in self.peers.values():
            for permission in peer.permissions:
                held = self._names.get(PERMISSION + permission, ())
                self._names[PERMISSION + permission] = _merged(held, peer.recipients)
        self._claims: dict[XKey, tuple[_Claim, ...]] = {}
        for peer in self.peers.values():
            claim = _Claim(matcher(peer.subjects), _admission(peer))
            for xkey in peer.xkeys:
                self._claims[xkey] = (*self._claims.get(xkey, ()), claim)
        try:
            self._always_to = _merged(*map(self.resolve, self.always_to_names))
        except UnknownKeyError as error:
            raise ConfigurationError(f"always_to: {error}") from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a peers file.

        Raises:
            ConfigurationError: If it cannot be read, or is invalid.
        """
        return cls.parse(read_text(Path(path), ConfigurationError), source=str(path))

    @classmethod
    @refusing
    def parse(cls, text: str, source: str = "peers") -> Self:
        """Parse peers in TOML.

        Raises:
            ConfigurationError: If the text is invalid; names `source`, the table, the key and what
                was expected.
            TypeError: If `text` is not a str.
        """
        peers, always_to = parse_peers(text, source)
        try:
            return cls(peers, always_to=always_to)
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}: {error}") from None

    @property
    def revision(self) -> int | None:
        """None: a file has no revision."""
        return None

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """Return the verdict on a sender for a sealed subject, or None to refuse it.

        Peers have no validity times, so `at` is ignored.

        Several peers may claim one key (`xkeymsg peers verify` warns): refusing that would let
        anyone who adds a peer silence another by claiming its public key. The strictest of all
        claims for this subject applies:

        - If any claim has a user, a message must name one of the users. A claim without a user does
          not count then: otherwise a holder of the key could omit the user, and with it the binding
          and the signature that the other claim promises.
        - If any claim has `always_signs`, unsigned messages are refused, whichever user they name:
          an unsigned message can name any.
        """
        known = self._claims.get(sender, ())
        return _strictest([each.admission for each in known if each.sends_on(subject)])

    def vouch(self, sender: XKey) -> Admission | None:
        """Return the verdict on a key for any subject, to check its replies by."""
        return _strictest([each.admission for each in self._claims.get(sender, ())])

    def admits_xkv1(self, sender: XKey, subject: str) -> bool:
        """Return whether a key may send xkv1 on a subject, for which the broker vouches.

        The key of a user may not: its messages must name the user, and xkv1 cannot.
        """
        admission = self.admit(sender, subject, 0)
        return admission is not None and not admission.users

    @refusing
    def resolve(self, name: str) -> tuple[Recipient, ...]:
        """Return all keys of a peer, `bob`, or of all holders of a permission, `perm:audit`.

        Raises:
            UnknownKeyError: If the peer is unknown, or nobody holds the permission.
            TypeError: If `name` is not a str.
        """
        if not isinstance(name, str):
            raise TypeError(f"a name must be a str, not {type(name).__name__}")
        found = self._names.get(name)
        if found is None:
            if nkey.is_seed(name):
                raise UnknownKeyError("expected the name of a peer, not a secret seed")
            what = "peer holds" if name.startswith(PERMISSION) else "peer is called"
            near = did_you_mean(name, self._names)
            said = f"no {what} {shown(name.removeprefix(PERMISSION))}{near}"
            if len(name) == 56 and name.startswith("X"):
                said += ": this is a key, not a name; add it to the peers, or use XKey.parse()"
            raise UnknownKeyError(said)
        return found

    def always_to(self) -> tuple[Recipient, ...]:
        """Return the recipients that every message is also sealed to."""
        return self._always_to

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Peers):
            return NotImplemented
        return self.peers == other.peers and self.always_to_names == other.always_to_names

    def __hash__(self) -> int:
        return hash((tuple(self.peers.values()), self.always_to_names))

    def __repr__(self) -> str:
        return f"<Peers: {len(self.peers)}>"


def _merged(*several: Iterable[Recipient]) -> tuple[Recipient, ...]:
    return tuple(dict.fromkeys(each for some in several for each in some))


def _admission(peer: Peer) -> Admission:
    if peer.user is None:
        return Admission()
    user = nkey.decode_public(nkey.Prefix.USER, peer.user)
    return Admission(frozenset({user}), always_signs=peer.always_signs)


def _strictest(claims: list[Admission]) -> Admission | None:
    if len(claims) < 2:
        return claims[0] if claims else None
    return Admission(
        users=frozenset().union(*(each.users for each in claims)),
        always_signs=any(each.always_signs for each in claims),
    )
