"""A realm without a server, and the trust of one of its users."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.directory.realm import Realm
from xkeymsg import Trust


@pytest.fixture
def realm(tmp_path: Path) -> Realm:
    return Realm(tmp_path / "HOSPITAL")


@pytest.fixture
def trust(realm: Realm) -> Trust:
    return realm.trust(realm.login(realm.person("alice")))
