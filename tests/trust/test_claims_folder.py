"""A folder of claims: safe to read, followed as it changes, the last valid state on errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.trust.chains.world import Key
from tests.trust.store import Person, Store
from xkeymsg import Trust, XKeyPair
from xkeymsg.errors import (
    ConfigurationError,
    MalformedClaimError,
    TrustError,
    UnknownKeyError,
    WrongIssuerError,
    XKeyMsgError,
)
from xkeymsg.nkey import Prefix
from xkeymsg.trust.stores import folder as module

USERS = "accounts/CLINIC/users"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "HOSPITAL")


def names(trust: Trust) -> set[str]:
    return {each.name for each in trust.members.identities.values()}


def reload(trust: Trust) -> bool:
    return trust.reload(force=True)


def refusal(trust: Trust) -> str:
    """Reload, with the error that it raises."""
    with pytest.raises(XKeyMsgError) as caught:
        reload(trust)
    assert str(trust.error) == str(caught.value)
    assert not reload(trust)  # raised once, and kept
    assert trust.error is not None
    return str(caught.value)


def mended(trust: Trust) -> bool:
    reload(trust)
    return trust.error is None


# --- changes --------------------------------------------------------------------------------------


def test_files_that_come_change_and_go(store: Store) -> None:
    store.add("alice")
    trust = store.load()
    bob = store.add("bob")
    assert reload(trust)
    assert names(trust) == {"alice", "bob"}
    store.write_user(bob, "audit", age=5)
    assert reload(trust)
    assert trust.resolve("perm:audit")
    (store.folder / USERS / "bob.jwt").unlink()
    assert reload(trust)
    assert names(trust) == {"alice"}
    assert not reload(trust)


def test_an_edit_in_place_of_equal_size_and_time_is_seen(store: Store) -> None:
    alice = store.add("alice", "aaa")
    path = store.folder / USERS / "alice.jwt"
    trust = store.load()
    before, status = path.read_text(), path.stat()
    after = store.user_jwt(alice, "bbb")
    assert len(after) == len(before)
    path.write_text(after)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert reload(trust)
    assert trust.resolve("perm:bbb")


def test_an_unchanged_old_file_is_not_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add("alice")
    trust = store.load()
    monkeypatch.setattr(module, "YOUNG_NS", -3600 * 10**9)  # every file is old
    reload(trust)
    monkeypatch.setattr(module, "read_file", None)
    assert not reload(trust)


def test_the_names_of_files_mean_nothing(store: Store) -> None:
    alice = store.add("alice")
    for suffix in ("jwt", "xkeys"):
        (store.folder / USERS / f"alice.{suffix}").rename(
            store.folder / USERS / f"zoë's {suffix}.{suffix}"
        )
    assert store.load().resolve("alice")[0].key == alice.pair.public


def test_hidden_and_other_files_are_skipped(store: Store) -> None:
    store.add("alice")
    for path in (".nsc", f"{USERS}/.x.jwt", f"{USERS}/README", "accounts/.git/x.jwt"):
        store.write(path, "not a claim")
    trust = store.load()
    assert trust.error is None
    assert names(trust) == {"alice"}


def test_users_of_accounts_that_are_not_configured_are_not_read(store: Store) -> None:
    store.write_account(name="OTHER", account=Key(Prefix.ACCOUNT, "other"))
    store.write("accounts/OTHER/users/x.jwt", "not a claim")
    assert store.load().error is None


def test_a_folder_swapped_by_a_symlink_is_seen(store: Store, tmp_path: Path) -> None:
    """Kubernetes mounts volumes like this."""
    store.add("alice")
    store.folder.rename(tmp_path / "..first")
    store.folder.symlink_to("..first")
    trust = store.load()
    other = Store(tmp_path / "..second")
    other.add("bob")
    (tmp_path / "new").symlink_to("..second")
    (tmp_path / "new").replace(store.folder)
    assert reload(trust)
    assert names(trust) == {"bob"}


# --- the last valid state -------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "garbage", "a.b.c", "x" * 20_000, "\ud800"])
def test_a_damaged_file_keeps_its_user_and_is_reported(store: Store, content: str) -> None:
    store.add("alice")
    path = store.folder / USERS / "alice.jwt"
    good = path.read_text()
    trust = store.load()
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert str(path) in refusal(trust)
    assert trust.resolve("alice")
    path.write_text(good)
    assert mended(trust)


def test_a_damaged_file_does_not_delay_a_revocation_elsewhere(store: Store) -> None:
    alice = store.add("alice")
    bob = store.add("bob")
    trust = store.load()
    (store.folder / USERS / "bob.jwt").write_text("garbage")
    store.write_account(age=5, revocations={alice.user: store.now})
    refusal(trust)
    assert names(trust) == {"bob"}
    assert trust.resolve(bob.user)


def test_a_new_damaged_file_harms_no_other_user(store: Store) -> None:
    store.add("alice")
    store.write(f"{USERS}/bad.jwt", "garbage")
    trust = store.load()
    assert isinstance(trust.error, MalformedClaimError)
    assert names(trust) == {"alice"}


def test_many_damaged_files_make_one_short_error(store: Store) -> None:
    store.add("alice")
    for number in range(500):
        store.write(f"{USERS}/{number}.jwt", "garbage")
    error = str(store.load().error)
    assert "499 more" in error
    assert len(error) < 1000


def test_a_partly_written_file_of_certificates_keeps_the_last(store: Store) -> None:
    alice = store.add("alice")
    trust = store.load()
    path = store.folder / USERS / "alice.xkeys"
    path.write_text(path.read_text()[:100])
    refusal(trust)
    assert trust.resolve("alice")[0].key == alice.pair.public


def test_of_a_new_file_of_certificates_the_valid_lines_count(store: Store) -> None:
    alice = store.add("alice")
    text = f"# rotated in October\n\n garbage\n{store.certificate(alice)}\r\n"
    store.write(f"{USERS}/alice.xkeys", text)
    trust = store.load()
    assert trust.resolve("alice")
    assert isinstance(trust.error, MalformedClaimError)


def test_too_many_certificates_are_refused_together(store: Store) -> None:
    alice = store.add("alice")
    store.write_xkeys(alice, *[store.certificate(alice)] * 25)
    trust = store.load()
    assert "alice.xkeys" in str(trust.error)
    with pytest.raises(UnknownKeyError):
        trust.resolve("alice")


@pytest.mark.parametrize("what", ["HOSPITAL.jwt", "accounts/CLINIC/CLINIC.jwt"])
@pytest.mark.parametrize("damage", ["gone", "garbage", "two", "foreign"])
def test_the_operator_and_the_account_remain_until_there_are_valid_ones(
    store: Store, what: str, damage: str
) -> None:
    store.add("alice")
    trust = store.load()
    path = store.folder / what
    good = path.read_text()
    if damage == "gone":
        path.unlink()
    elif damage == "garbage":
        path.write_text("garbage")
    elif damage == "two":
        store.write(f"{Path(what).parent}/copy.jwt", good)
    else:
        other = Store(store.folder.parent / "other")
        other.operator_key = other.operator = Key(Prefix.OPERATOR, "foreign")
        other.write_operator(age=1)
        other.write_account(age=1)
        path.write_text((other.folder / what).read_text())
    refusal(trust)
    assert trust.resolve("alice")
    path.write_text(good)
    if damage == "two":
        (path.parent / "copy.jwt").unlink()
    assert mended(trust)


def test_a_removed_operator_key_ends_its_accounts_though_the_last_account_was_valid(
    store: Store,
) -> None:
    alice = store.add("alice")
    trust = store.load()
    store.write_operator([Key(Prefix.OPERATOR, "another")], age=5)
    assert "CLINIC" in refusal(trust) or store.account.public in str(trust.error)
    assert isinstance(trust.error, WrongIssuerError)
    assert trust.admit(alice.pair.public, "a", store.now * 1000) is None
    with pytest.raises(UnknownKeyError):
        trust.resolve("alice")


def test_a_folder_that_is_gone_leaves_everything_as_it_was(store: Store, tmp_path: Path) -> None:
    store.add("alice")
    trust = store.load()
    store.folder.rename(tmp_path / "away")
    refusal(trust)
    assert trust.resolve("alice")
    (tmp_path / "away").rename(store.folder)
    assert mended(trust)


def test_without_an_operator_or_account_there_is_no_start(store: Store) -> None:
    (store.folder / "accounts/CLINIC/CLINIC.jwt").write_text("garbage")
    with pytest.raises(MalformedClaimError):
        store.load()
    (store.folder / "accounts/CLINIC/CLINIC.jwt").unlink()
    with pytest.raises(ConfigurationError):
        store.load()
    store.write_account()
    (store.folder / "HOSPITAL.jwt").write_text("garbage")
    with pytest.raises(MalformedClaimError):
        store.load()
    (store.folder / "HOSPITAL.jwt").unlink()
    with pytest.raises(ConfigurationError, match="one operator"):
        store.load()


def test_several_operators_below_a_folder_are_an_error_that_names_them(tmp_path: Path) -> None:
    for name in ("ONE", "TWO"):
        Store(tmp_path / "stores" / name)
    with pytest.raises(ConfigurationError, match="ONE, TWO"):
        Trust.load(tmp_path, anchor=Key(Prefix.OPERATOR, "store").public)


# --- who may write --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["HOSPITAL.jwt", "accounts/CLINIC/CLINIC.jwt", f"{USERS}/alice.jwt", f"{USERS}/alice.xkeys"],
)
def test_a_file_that_anyone_may_write_is_refused(store: Store, path: str) -> None:
    alice = store.add("alice")
    trust = store.load()
    (store.folder / path).chmod(0o666)
    assert "world-writable" in refusal(trust)
    assert trust.resolve("alice")  # as it was
    if "users" not in path:
        with pytest.raises(ConfigurationError, match="world-writable"):
            store.load()
        return
    fresh = store.load()
    with pytest.raises(TrustError):
        fresh.resolve("alice")
    assert fresh.admit(alice.pair.public, "a", store.now * 1000) is None


@pytest.mark.parametrize("path", ["", "accounts", "accounts/CLINIC", USERS])
def test_a_folder_that_anyone_may_write_is_refused(store: Store, path: str) -> None:
    store.add("alice")
    trust = store.load()
    (store.folder / path).chmod(0o777)
    store.add("eve")
    assert "world-writable" in refusal(trust)
    assert names(trust) == {"alice"}
    if path == USERS:
        assert names(store.load()) == set()
    else:
        with pytest.raises(ConfigurationError, match="world-writable"):
            store.load()


def test_a_symlink_counts_as_the_file_that_it_leads_to(store: Store, tmp_path: Path) -> None:
    alice = store.add("alice")
    path = store.folder / USERS / "alice.jwt"
    shared = tmp_path / "shared"
    shared.mkdir()
    path.rename(shared / "alice.jwt")
    path.symlink_to(shared / "alice.jwt")
    assert store.load().resolve("alice")[0].key == alice.pair.public
    shared.chmod(0o777)
    trust = store.load()
    assert "world-writable" in str(trust.error)
    assert names(trust) == set()


@pytest.mark.parametrize("target", ["missing", "alice.jwt", "/dev/zero"])
def test_a_symlink_to_nothing_itself_or_a_device_is_reported(store: Store, target: str) -> None:
    store.add("bob")
    (store.folder / USERS / "alice.jwt").symlink_to(target)
    trust = store.load()
    assert "alice.jwt" in str(trust.error)
    assert names(trust) == {"bob"}


def test_an_entry_that_cannot_be_examined_freezes_nothing(store: Store) -> None:
    """Python 3.11 raises OSError for a symlink to too long a name, as to a forbidden folder."""
    store.add("alice")
    trust = store.load()
    (store.folder / "accounts" / "ANOTHER").symlink_to("x" * 300)
    (store.folder / USERS / "alice.jwt").unlink()
    assert "ANOTHER" in refusal(trust)
    assert not names(trust)


def test_a_pipe_does_not_block(store: Store) -> None:
    store.add("bob")
    os.mkfifo(store.folder / USERS / "alice.jwt")
    trust = store.load()
    assert "not a regular file" in str(trust.error)
    assert names(trust) == {"bob"}


def test_a_folder_with_too_many_entries_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add("alice")
    trust = store.load()
    monkeypatch.setattr(module, "MOST_ENTRIES", 5)
    for number in range(6):
        store.write(f"{USERS}/{number}", "")
    assert "over 5 entries" in refusal(trust)
    assert names(trust) == {"alice"}


def test_two_files_about_one_user_count_as_two_claims(store: Store) -> None:
    """T-9: all verdicts have to admit; permissions are those that both give."""
    alice = store.add("alice", "clinic", "audit")
    store.write(f"{USERS}/copy.jwt", store.user_jwt(alice, "clinic", "billing"))
    trust = store.load()
    assert trust.resolve("perm:clinic")
    for name in ("perm:audit", "perm:billing"):
        with pytest.raises(UnknownKeyError):
            trust.resolve(name)


def test_certificates_count_for_their_issuer_wherever_they_lie(store: Store) -> None:
    alice, bob = store.add("alice"), store.add("bob")
    new = XKeyPair.generate()
    store.write_xkeys(bob, store.certificate(bob), store.certificate(alice, new, age=5))
    trust = store.load()
    assert trust.resolve("alice")[0].key == new.public
    assert trust.resolve("bob")[0].key == bob.pair.public


def test_a_user_whose_jwt_names_another_account_is_not_of_this_one(store: Store) -> None:
    other = Key(Prefix.ACCOUNT, "other")
    eve = Person("eve", store.key)
    store.write_user(eve, account=other)
    store.write_xkeys(eve, store.certificate(eve))
    trust = store.load()
    assert names(trust) == set()
    assert trust.admit(eve.pair.public, "a", store.now * 1000) is None
