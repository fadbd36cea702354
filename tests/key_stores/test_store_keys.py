"""A key pair that stands on a store computes what one with a seed computes."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from xkeymsg import (
    ConfigurationError,
    Keyring,
    KeyStoreError,
    XKeyPair,
    connect,
    open_key,
    open_signer,
    primitives,
)
from xkeymsg.client.jetstream.holds import is_shortage
from xkeymsg.daemons.common.identity import DaemonIdentity
from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.daemons.sender.config import SenderKeySection
from xkeymsg.errors import PinError
from xkeymsg.key_stores.released_key import ReleasedKey
from xkeymsg.key_stores.store_keys import StoreKeyPair, StoreSigner
from xkeymsg.nkey import Prefix, SigningKey, encode_seed
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_private, write_seed

PAIR = XKeyPair(bytes(range(100, 132)))
USER = encode_seed(Prefix.USER, bytes(range(50, 82)))


def test_the_key_of_a_box_follows_from_the_shared_secret() -> None:
    for _ in range(200):
        secret, peer = os.urandom(32), primitives.x25519_public(os.urandom(32))
        shared = primitives.x25519(secret, peer)
        assert shared is not None
        assert primitives.box_key_of(shared) == primitives.box_pair_key(peer, secret)


def test_it_derives_the_same_secrets() -> None:
    stored = StoreKeyPair(ReleasedKey(PAIR.seed(), ()))
    assert stored.derive(b"label") == PAIR.derive(b"label")
    assert stored.public == PAIR.public
    assert Keyring(stored).active is stored


def test_its_secret_is_nowhere() -> None:
    stored = StoreKeyPair(ReleasedKey(PAIR.seed(), ()))
    with pytest.raises(KeyStoreError, match="does not leave its store"):
        stored.seed()
    for take in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            take(stored)
    assert PAIR.seed() not in repr(stored)
    signer = StoreSigner(ReleasedKey(USER, ()))
    with pytest.raises(TypeError, match="cannot be pickled"):
        copy.copy(signer)
    assert "SU" not in repr(signer)


def test_a_user_key_signs(tmp_path: Path) -> None:
    write_private(tmp_path / "user", USER)
    signer = open_signer(f"file:{tmp_path / 'user'}")
    own = SigningKey(USER, Prefix.USER)
    assert signer.public_key == own.public_key
    assert signer.sign(b"data") == own.sign(b"data")


def test_a_failing_store_says_nothing_about_a_message() -> None:
    """A message that arrives while a token is gone must not end in the quarantine."""
    assert is_shortage(KeyStoreError("gone"))
    assert is_shortage(PinError("locked"))


class TestDaemons:
    def section(self, **given: object) -> KeySection:
        return KeySection.model_validate(given)

    def test_take_their_key_from_a_store(self, tmp_path: Path) -> None:
        write_seed(tmp_path / "own", PAIR)
        write_seed(tmp_path / "old", old := XKeyPair.generate())
        identity = DaemonIdentity(
            self.section(
                key_store=f"file:{tmp_path / 'own'}",
                key_match_by="PublicKey",
                key_match=str(PAIR.public),
                retired_stores=[f"file:{tmp_path / 'old'}"],
            )
        )
        assert identity.public == str(PAIR.public)
        assert [pair.public for pair in identity.keyring.retired] == [old.public]
        assert identity.age() == 0.0

    def test_read_a_store_once_at_the_start(self, tmp_path: Path) -> None:
        """A command may cost a person a confirmation."""
        write_seed(tmp_path / "own", PAIR)
        count = tmp_path / "count"
        program = tmp_path / "bin" / "key"
        program.parent.mkdir(mode=0o755)
        program.write_text(f"#!/bin/sh\necho run >> '{count}'\ncat '{tmp_path / 'own'}'\n")
        program.chmod(0o755)
        identity = DaemonIdentity(self.section(key_store=f"command:'{program}'"))
        assert count.read_text() == "run\n"
        assert not identity.reload()
        assert count.read_text() == "run\nrun\n"

    def test_keep_the_old_key_if_a_reload_fails(self, tmp_path: Path) -> None:
        write_seed(tmp_path / "own", PAIR)
        identity = DaemonIdentity(self.section(key_store="file", key_match=str(tmp_path / "own")))
        (tmp_path / "own").unlink()
        with pytest.raises(KeyStoreError):
            identity.reload()
        assert identity.public == str(PAIR.public)


def test_a_relative_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_seed(tmp_path / "own", PAIR)
    assert open_key("file:~/own").public == PAIR.public


async def test_a_client_logs_in_with_a_user_key_of_a_store(tmp_path: Path) -> None:
    write_private(tmp_path / "user", USER)
    public = SigningKey(USER, Prefix.USER).public
    config = f"authorization: {{users: [{{nkey: {public}}}]}}"
    options: dict[str, Any] = {"key": PAIR, "trust": {PAIR.public}}
    with NATSServer(config) as server:
        store = f"file:{tmp_path / 'user'}"
        async with connect(server.url, nkey_store=store, **options) as client:
            async with client.subscribe("a") as messages:
                await client.flush()
                await client.publish("a", b"7 lamps", to=PAIR.public)
                assert (await anext(messages)).data == b"7 lamps"
        matched: dict[str, Any] = {"nkey_match_by": "PublicKey", "nkey_match": public}
        async with connect(server.url, nkey_store=store, **matched, **options):
            pass
        matched["nkey_match"] = public.lower()
        with pytest.raises(KeyStoreError, match="unable to find key in store"):
            async with connect(server.url, nkey_store=store, **matched, **options):
                pass
        with pytest.raises(KeyStoreError, match="cannot read"):
            async with connect(server.url, nkey_store=store + "x", **options):
                pass
    with pytest.raises(ConfigurationError, match="only one of nkey and nkey_store"):
        connect(nkey="a", nkey_store="file:b", **options)
    with pytest.raises(ConfigurationError, match="nkey_match requires nkey_store"):
        connect(nkey_match="a", **options)


def test_a_sender_signs_with_a_key_of_a_store(tmp_path: Path) -> None:
    write_private(tmp_path / "user", USER)
    write_seed(tmp_path / "own", PAIR)
    own, user = (f"file:{tmp_path / name}" for name in ("own", "user"))
    section = SenderKeySection.model_validate({"key_store": own, "signer_store": user})
    assert (signer := section.open_signer()) is not None
    assert signer.public_key == SigningKey(USER, Prefix.USER).public_key
    given = {"key_store": own, "signer_store": user, "signer_match_by": "PublicKey"}
    for match in (SigningKey(USER, Prefix.USER).public, "UA"):
        if match == "UA":
            with pytest.raises(ValueError, match="unable to find key in store"):
                SenderKeySection.model_validate(given | {"signer_match": match})
        else:
            SenderKeySection.model_validate(given | {"signer_match": match})
    with pytest.raises(ValueError, match="unable to find key in store"):
        SenderKeySection.model_validate({"key_store": own, "signer_store": own})
