"""A daemon's own key: tested before it is used, and never half replaced."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.transport.authority import Nkey
from xkeymsg.daemons.common.identity import DaemonIdentity, self_test
from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.errors import KeyStoreError, XKeyMsgError
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.trust.stores.file import write_seed


def section(path: Path, **more: object) -> KeySection:
    given = {"seed_file": path.name, **more}
    return KeySection.model_validate(given, context={"folder": path.parent})


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    write_seed(tmp_path / "bob.seed", XKeyPair.generate())
    return tmp_path / "bob.seed"


def test_every_own_key_passes_the_test_of_itself() -> None:
    user = Nkey().public
    self_test(Keyring(XKeyPair.generate(), retired=[XKeyPair.generate()], user=user))


def test_a_key_that_does_not_open_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xkeymsg.primitives.x25519", lambda secret, public: os.urandom(32))
    with pytest.raises(XKeyMsgError):
        self_test(Keyring(XKeyPair.generate()))


def test_another_key_is_used_after_a_reload_and_a_bad_one_never(seed: Path) -> None:
    identity = DaemonIdentity(section(seed))
    before = identity.public
    assert not identity.reload()
    seed.write_text("SX nothing")
    with pytest.raises(KeyStoreError):
        identity.reload()
    assert identity.public == before
    seed.unlink()
    write_seed(seed, XKeyPair.generate())
    assert identity.reload()
    assert identity.public != before


def test_the_age_is_that_of_the_file_or_what_is_written(seed: Path) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    os.utime(seed, (0, hour_ago.timestamp()))
    assert 3600 <= DaemonIdentity(section(seed)).age() < 3700
    day = (datetime.now(UTC) - timedelta(days=10)).date()
    assert 10 * 86400 <= DaemonIdentity(section(seed, created=day)).age() < 11 * 86400
