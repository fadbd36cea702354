"""Checks of keys on a SoftHSM token; each runs in a process of its own.

    python -m tests.key_stores.token_checks NAME FOLDER

FOLDER has the token's files in `tokens` and its PIN in `pin`. A fault in a PKCS#11 module ends the
whole process, and a module has one state for the process.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import AttributeSensitive

from tests.key_stores.inside import (
    count_derivations,
    count_logins,
    forget,
    lose_token,
    shared,
    token_of,
)
from xkeymsg import ANYONE, AtRest, KeyStoreError, Opener, PinError, Sealer, XKeyPair
from xkeymsg.key_stores.opening import (
    find_key,
    list_certificates,
    list_keys,
    open_key,
    open_signer,
)
from xkeymsg.key_stores.pkcs11 import Pkcs11Provider
from xkeymsg.nkey import Prefix, encode_seed
from xkeymsg.testing.key_stores import check_provider, check_several, check_writable

CHECKS: dict[str, Callable[[Path], None]] = {}
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"


def check(function: Callable[[Path], None]) -> Callable[[Path], None]:
    CHECKS[function.__name__] = function
    return function


def uri(folder: Path, name: str = "alice") -> str:
    return f"token=xk;object={name}?pin-source=file:{folder / 'pin'}"


def made(folder: Path, kind: Prefix = Prefix.CURVE, name: str = "alice") -> str:
    Pkcs11Provider().create(uri(folder, name), kind)
    return f"pkcs11:{uri(folder, name)}"


@check
def protocol(folder: Path) -> None:
    made(folder)
    made(folder, Prefix.USER, "signer")
    whole = f"token=xk?pin-source=file:{folder / 'pin'}"
    check_provider(Pkcs11Provider(), whole, bad_address=uri(folder, "nobody"))


@check
def writing(folder: Path) -> None:
    check_writable(Pkcs11Provider(), uri(folder, "one"), other=uri(folder, "two"))
    assert not list_keys(f"pkcs11:token=xk?pin-source=file:{folder / 'pin'}")


@check
def several(folder: Path) -> None:
    check_several(Pkcs11Provider(), f"{uri(folder)}&x-lock={folder / 'lock'}")
    assert not list_certificates(f"pkcs11:{uri(folder)}&x-lock={folder / 'lock'}")


@check
def a_certificate_that_was_stored_without_the_pin_is_ignored(folder: Path) -> None:
    """Whoever can reach the token can write public objects."""
    address = f"{uri(folder)}&x-lock={folder / 'lock'}"
    provider = Pkcs11Provider()
    public = provider.create(address, Prefix.CURVE).public()

    def plant(session: Any) -> None:
        session.create_object({
            Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.PRIVATE: False,
            Attribute.LABEL: "alice", Attribute.APPLICATION: f"xkeymsg {public} 999",
            Attribute.VALUE: b"planted",
        })  # fmt: skip

    token_of(provider, address).write(plant)
    assert not provider.certificates(address)
    provider.put_certificate(address, public, "own")
    assert provider.certificates(address) == {public: "own"}


@check
def a_label_for_one_key_has_no_second_one(folder: Path) -> None:
    made(folder)
    with pytest.raises(KeyStoreError, match="has a key of this label already"):
        made(folder)
    for text in (f"{uri(folder)}&x-lock=relative", "token=xk?x-lock=/a"):
        with pytest.raises(KeyStoreError, match="an absolute path"):
            Pkcs11Provider().lock(text).__enter__()
    with Pkcs11Provider().lock(uri(folder)), Pkcs11Provider().lock(uri(folder)):
        pass  # there is nothing to lock


@check
def the_secret_stays(folder: Path) -> None:
    provider = Pkcs11Provider()
    provider.create(uri(folder, "generated"), Prefix.CURVE)
    provider.put(uri(folder, "imported"), XKeyPair.generate().seed())
    token = token_of(provider, uri(folder))

    def attack(session: Any) -> None:
        keys = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        assert len(keys) == 2
        for key in keys:
            with pytest.raises(AttributeSensitive):
                key[Attribute.VALUE]

    token.run(attack)


@check
def describing(folder: Path) -> None:
    provider = Pkcs11Provider()
    generated = provider.create(uri(folder, "generated"), Prefix.CURVE).describe()
    seed = encode_seed(Prefix.USER, os.urandom(32))
    imported = provider.put(uri(folder, "imported"), seed).describe()
    assert "generated on the token" in generated
    assert "the token does not release it" in generated
    assert any(fact.startswith("imported") for fact in imported), imported


@check
def an_extractable_key_is_refused(folder: Path) -> None:
    provider = Pkcs11Provider()

    def generate(session: Any) -> None:
        session.create_domain_parameters(
            KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: bytes.fromhex("06032b656e")}, local=True
        ).generate_keypair(
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label="open", id=b"\1",
            capabilities=MechanismFlag.DERIVE, private_template={Attribute.EXTRACTABLE: True},
        )  # fmt: skip

    token_of(provider, uri(folder)).write(generate)
    with pytest.raises(KeyStoreError, match="the token releases the key 'open'"):
        open_key(f"pkcs11:{uri(folder, 'open')}")
    allowed = f"pkcs11:{uri(folder, 'open')}&x-extractable=allowed"
    open_key(allowed)
    assert any("warning" in fact for fact in find_key(allowed).describe())


@check
def threads(folder: Path) -> None:
    """Eight threads derive 250 times each, and eight sign; test_token_lock.py tests the lock."""
    pair = open_key(made(folder))
    signer = open_signer(made(folder, Prefix.USER, "signer"))
    peer = XKeyPair.generate()
    expected, signature = shared(peer, pair.public), signer.sign(b"data")
    wrong: list[object] = []

    def derive() -> None:
        try:
            wrong.extend(1 for _ in range(250) if shared(pair, peer.public) != expected)
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    def sign() -> None:
        try:
            wrong.extend(1 for _ in range(50) if signer.sign(b"data") != signature)
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    several = [threading.Thread(target=each) for each in (derive, sign) for _ in range(8)]
    for each in several:
        each.start()
    for each in several:
        each.join()
    assert wrong == []


@check
def gone_and_back(folder: Path) -> None:
    pair, signer = open_key(made(folder)), open_signer(made(folder, Prefix.USER, "signer"))
    sealer = Sealer(XKeyPair.generate())
    opener = Opener(pair, ANYONE, replay=AtRest())
    (folder / "tokens").rename(folder / "gone")
    envelope = sealer.seal(b"while it is gone", to=[pair.public], subject="a")
    for _ in range(3):
        with pytest.raises(KeyStoreError):
            opener.open(envelope, subject="a")
        with pytest.raises(KeyStoreError):
            signer.sign(b"data")
    (folder / "gone").rename(folder / "tokens")
    end = time.monotonic() + 60
    while True:
        try:
            assert opener.open(envelope, subject="a").data == b"while it is gone"
            break
        except KeyStoreError:
            assert time.monotonic() < end
            time.sleep(0.2)
    assert len(signer.sign(b"data")) == 64
    assert open_key(f"pkcs11:{uri(folder)}").public == pair.public


@check
def fork(folder: Path) -> None:
    pair, peer = open_key(made(folder)), XKeyPair.generate()
    expected = shared(peer, pair.public)
    child = os.fork()
    if child == 0:
        good = False
        try:
            good = shared(pair, peer.public) == expected and shared(pair, peer.public) == expected
        finally:
            os._exit(0 if good else 9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shared(pair, peer.public) == expected


@check
def a_wrong_pin_is_tried_once(folder: Path) -> None:
    store = made(folder)
    logins = count_logins()
    forget()
    right = (folder / "pin").read_text()
    (folder / "pin").write_text("0000\n")
    messages = []
    for _ in range(5):
        with pytest.raises(PinError) as caught:
            open_key(store)
        messages.append(str(caught.value))
    assert logins == [1]
    assert "PinIncorrect" in messages[0]
    assert all("--try-pin" in each for each in messages[1:])
    forget()  # a restart
    with pytest.raises(PinError, match="--try-pin"):
        open_key(store)
    (folder / "pin").write_text(right)
    with pytest.raises(PinError, match="--try-pin"):  # also the right one: it is not known to be
        open_key(store)
    assert logins == [1]
    assert Pkcs11Provider(try_pin=True).keys(uri(folder))
    open_key(store)
    assert logins == [2]
    assert "0000" not in "".join(messages)


@check
def a_wrong_pin_is_not_repeated_after_the_token_was_gone(folder: Path) -> None:
    """Each message would be one more try."""
    pair, peer = open_key(made(folder)), XKeyPair.generate()
    logins = count_logins()
    lose_token("0000")
    for _ in range(5):
        with pytest.raises(PinError):
            shared(pair, peer.public)
    assert logins == [1]


@check
def finding(folder: Path) -> None:
    first, second = made(folder, name="a"), made(folder, name="b")
    whole = f"pkcs11:token=xk?pin-source=file:{folder / 'pin'}"
    publics = [str(open_key(store).public) for store in (first, second)]
    with pytest.warns(RuntimeWarning, match="2 keys match"):
        assert str(open_key(whole).public) == publics[0]
    for name, public in zip("ab", publics, strict=True):
        assert str(open_key(whole, match_by="label", match=name).public) == public
        assert str(open_key(whole, match_by="PublicKey", match=public).public) == public
        identifier = find_key(f"pkcs11:{uri(folder, name)}").names["Id"]
        assert str(open_key(whole, match_by="Id", match=identifier).public) == public
    for term in ("A", "", "a ", "ab"):
        with pytest.raises(KeyStoreError, match="unable to find key in store"):
            open_key(whole, match_by="Label", match=term)
    with pytest.raises(KeyStoreError, match="no token matches"):
        open_key("pkcs11:token=x?pin-source=file:/nowhere")


@check
def the_pin_comes_from_a_store(folder: Path) -> None:
    made(folder)
    forget()
    refused = (
        ("token=xk", "requires a PIN: add pin-source"),
        ("token=xk?pin-source=environment:PIN", "pin-source: expected file:"),
        ("token=xk?pin-source=pkcs11:token=xk", "pin-source: expected file:"),
        (f"token=xk?pin-source=file:{folder}/nowhere", "cannot read"),
        ("token=xk?pin-value=1234", "pin-value would show the PIN"),
    )
    for text, reason in refused:
        with pytest.raises(KeyStoreError, match=reason):
            open_key(f"pkcs11:{text}")
    open_key(f"pkcs11:token=xk?pin-source=command:/bin/cat%20{folder / 'pin'}")


@check
def a_module_by_its_path(folder: Path) -> None:
    store = f"pkcs11:{uri(folder)}&module-path={SOFTHSM}"
    Pkcs11Provider().create(store.removeprefix("pkcs11:"), Prefix.CURVE)
    open_key(store)
    for path, reason in (
        ("softhsm.so", "absolute"),
        ("/nowhere/x.so", "cannot run"),
        ("/bin/true", "cannot load"),
    ):
        with pytest.raises(KeyStoreError, match=reason):
            open_key(f"pkcs11:token=xk?module-path={path}")


@check
def speed(folder: Path) -> None:
    """With pair keys cached, a session costs one derivation; its messages cost none."""
    pair, alice = open_key(made(folder)), XKeyPair.generate()
    sealer, opener = Sealer(alice), Opener(pair, {alice.public}, replay=AtRest())
    envelopes = [sealer.seal(b"x", to=[pair.public], subject="a") for _ in range(500)]
    derived = count_derivations(pair)
    for envelope in envelopes:
        assert opener.open(envelope, subject="a").data == b"x"
    assert derived[0] <= 2


if __name__ == "__main__":
    faulthandler.enable()
    warnings.simplefilter("error")
    CHECKS[sys.argv[1]](Path(sys.argv[2]))
