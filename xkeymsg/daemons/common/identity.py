"""A daemon's own keys: loading, self-test, reload."""

from __future__ import annotations

import secrets
from copy import copy
from datetime import UTC, datetime
from typing import Any, Final

from xkeymsg import nkey
from xkeymsg.client.core import own_user
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.errors import KeyStoreError
from xkeymsg.keys import Keyring, Recipient, XKey
from xkeymsg.limits import AtRest
from xkeymsg.opener import Opener
from xkeymsg.sealer import Sealer
from xkeymsg.trust.stores.chains import Trust

__all__ = ("DaemonIdentity", "daemon_state", "self_test")

_SUBJECT: Final = "xkeymsg.selftest"


class DaemonIdentity:
    """The keys of a `[key]` section, as last read successfully.

    Args:
        section: The settings.
        trust: The source of trust; one that knows users may know the own one.

    Raises:
        ConfigurationError: If trust admits users only, and the own one is unknown.
        KeyStoreError: If a key cannot be read.
    """

    def __init__(self, section: KeySection, trust: object = None) -> None:
        self.section = section
        """The settings of the keys in use."""
        self._trust = trust
        pairs = section.open()
        self.user = self._user_of(section, pairs[0].public)
        """The own user `U…`, if any."""
        self.keyring = Keyring(pairs[0], retired=pairs[1:], user=self.user)
        self.begun: int | None = None
        """When the active key became current, in seconds since 1970, if certificates tell."""

    def _user_of(self, section: KeySection, key: XKey) -> str | None:
        if not isinstance(self._trust, Trust):
            return section.user
        remedy = "set user in [key] or creds in [nats]"
        return own_user(self._trust, key, section.user, remedy)

    @property
    def public(self) -> str:
        """The active public key, `X…`."""
        return str(self.keyring.active.public)

    def reread(self) -> DaemonIdentity:
        """Return the identity of the section as it is now; its keys passed their self-test.

        Raises:
            ConfigurationError: If the section is invalid.
            KeyStoreError: If a key cannot be read.
            XKeyMsgError: If the keys fail their self-test.
        """
        new = copy(self)
        new.section = self.section.reread()
        active, *retired = new.section.open()
        if new.section.user != self.section.user:  # else the key need not be certified yet
            new.user = self._user_of(new.section, active.public)
        new.keyring = Keyring(active, retired=retired, user=new.user)
        self_test(new.keyring)
        return new

    def adopt(self, new: DaemonIdentity) -> bool:
        """Use the keys of a reread identity; return whether keys or their stores changed."""
        before = self._state()
        self.section.close()
        self.section, self.keyring, self.user = new.section, new.keyring, new.user
        return before != self._state()

    def _state(self) -> tuple[dict[str, Any], list[XKey]]:
        """Return the settings and the public keys, to compare."""
        pairs = (self.keyring.active, *self.keyring.retired)
        return self.section.model_dump(), [pair.public for pair in pairs]

    def reload(self) -> bool:
        """Reload the keys, and return whether they or their stores changed.

        If that raises as `reread` does, the old keys stay in use.
        """
        return self.adopt(self.reread())

    def age(self) -> float:
        """Return the age of the active key in seconds; 0 if it is unknown."""
        created, file = self.section.created, self.section.seed_file
        if self.begun is not None:
            begun = datetime.fromtimestamp(self.begun, UTC)
        elif created is not None:
            begun = datetime(created.year, created.month, created.day, tzinfo=UTC)
        elif file is not None:
            try:
                begun = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            except OSError:
                return 0.0
        else:
            return 0.0
        return max(0.0, (datetime.now(UTC) - begun).total_seconds())


def daemon_state(identity: DaemonIdentity, health: Health) -> dict[str, Any]:
    """Return what the STATS reply says of a daemon."""
    return {"key": identity.public, "key_age": round(identity.age()), "ready": health.ready}


def self_test(keyring: Keyring) -> None:
    """Seal a random message to each own key, and open it.

    Raises:
        XKeyMsgError: If that fails: messages sealed to us could not be opened.
    """
    data = secrets.token_bytes(32)
    for pair, user in keyring.combinations:
        name = nkey.encode_public(nkey.Prefix.USER, user) if any(user) else None
        sealer = Sealer(pair)
        envelope = sealer.seal(data, to=[Recipient(pair.public, name)], subject=_SUBJECT)
        sealer.close()
        opener = Opener(keyring, {pair.public}, replay=AtRest())
        if opener.open(envelope, subject=_SUBJECT).data != data:
            raise KeyStoreError("self-test: the opened data differs from the sealed data")
