"""A reader with a memory, as small as it can be: what it admits, it records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.trust.chains.world import Scene
from xkeymsg.trust.chain import Authority, TrustPolicy, authorize, certify, identify
from xkeymsg.trust.claims import Account, Certificate, Operator, User
from xkeymsg.trust.identity import CertifiedKey, Identity
from xkeymsg.trust.marks import Marks

__all__ = ("NOW", "Reader")

NOW = 1_800_000_000


class Reader:
    """Reads texts of one scene's account and user."""

    def __init__(self, scene: Scene, operator: str | None = None) -> None:
        self.scene = scene
        self.marks = Marks()
        self.policy: TrustPolicy = scene.policy
        self.operator = operator or scene.operator_jwt()
        self.now = scene.now

    def trust(self, operator: str, *anchors: str) -> None:
        """Change the configuration."""
        self.operator = operator
        if anchors:
            self.policy = replace(self.policy, anchors=frozenset(anchors))

    def authorize(self, accounts: Sequence[str]) -> Authority:
        authority = authorize(
            self.policy,
            Operator.decode(self.operator),
            self.scene.account.public,
            [Account.decode(text) for text in accounts],
            self.now,
            self.marks,
        )
        self.marks.record(authority.seen)
        return authority

    def admit(
        self, accounts: Sequence[str], users: Sequence[str], certificates: Sequence[str] = ()
    ) -> Identity:
        authority = self.authorize(accounts)
        found = [User.decode(text) for text in users]
        identity = identify(authority, self.scene.user.public, found, self.now, self.marks)
        self.marks.record(identity.seen)
        known = [Certificate.decode(text) for text in certificates]
        return certify(authority, identity, known, self.now)

    def current(self, identity: Identity) -> CertifiedKey:
        """The xkey to seal to."""
        key = identity.current(self.now, self.marks.certified(identity.user))
        self.marks.record_certificate(identity.user, key.not_before)
        return key
