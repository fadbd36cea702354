"""A restart with an older folder: the newest account JWT is in the file of marks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.directory.realm import Realm
from xkeymsg import SenderRevokedError, Trust
from xkeymsg.errors import ConfigurationError, RollbackError
from xkeymsg.trust.stores.marks_file import forget_marks
from xkeymsg.trust.stores.published_entry import Place


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path / "alice.marks"


@pytest.fixture
def creds(realm: Realm) -> Path:
    return realm.login(realm.person("alice"))


def show(trust: Trust, text: str, *entries: tuple[Place, bytes]) -> None:
    """Let the bucket show an account JWT and entries."""
    published, lookup = trust.attach()
    published.loaded = True
    place = Place(trust.account, "")
    for at, entry in [*entries, (place, text.encode())]:
        published.put(at, entry, stored=True)
    lookup.verify(60.0)
    trust.take_news()


def restart_after_a_push(realm: Realm, creds: Path, marks: Path) -> tuple[Trust, str]:
    """Learn a revocation from the bucket alone, and load the same folder again."""
    realm.revocations["U" + "A" * 55] = realm.now
    text = realm.clinic_jwt(age=5)
    first = realm.trust(creds, marks=marks)
    show(first, text)
    first.close()
    return realm.trust(creds, marks=marks), text


def counts(trust: Trust) -> str:
    """Return the own account's JWT that counts."""
    [account] = trust.members.known[""].authority.accounts
    return account.claims.text


def test_a_daemon_starts_with_an_account_jwt_that_only_the_directory_had(
    realm: Realm, creds: Path, marks: Path
) -> None:
    trust, text = restart_after_a_push(realm, creds, marks)
    trust.attach()
    assert trust.error is None
    assert counts(trust) == text


def test_without_a_directory_the_older_folder_is_a_problem_and_the_newer_jwt_counts(
    realm: Realm, creds: Path, marks: Path
) -> None:
    trust, text = restart_after_a_push(realm, creds, marks)
    assert isinstance(trust.error, RollbackError)
    assert counts(trust) == text


def test_neither_folder_nor_bucket_bring_back_an_older_account_jwt_after_a_restart(
    realm: Realm, creds: Path, marks: Path
) -> None:
    """The attacker writes both."""
    trust, text = restart_after_a_push(realm, creds, marks)
    realm.revocations.clear()
    show(trust, realm.clinic_jwt())
    assert counts(trust) == text
    assert trust.published is not None
    assert isinstance(trust.published.alarms[Place(trust.account, "")], RollbackError)
    assert "" in trust.members.known
    trust.close()
    again = realm.trust(creds, marks=marks)
    again.attach()
    assert counts(again) == text


def test_a_revoked_user_stays_revoked_when_folder_and_bucket_are_rolled_back(
    realm: Realm, creds: Path, marks: Path
) -> None:
    bob = realm.person("bob")
    entry = realm.place(bob), realm.entry(bob)
    realm.revocations[bob.user] = realm.now
    first = realm.trust(creds, marks=marks)
    show(first, realm.clinic_jwt(age=5), entry)
    first.close()
    realm.revocations.clear()
    trust = realm.trust(creds, marks=marks)
    show(trust, realm.clinic_jwt(), entry)
    with pytest.raises(SenderRevokedError):
        trust.admit(bob.pair.public, "ehr.new", realm.now * 1000)


def test_all_account_jwts_of_one_time_count_again_after_a_restart(
    realm: Realm, creds: Path, marks: Path
) -> None:
    """T-9: with one of two only, a revocation in the other would be lost."""
    first = realm.trust(creds, marks=marks)
    published, lookup = first.attach()
    texts = {realm.clinic_jwt(age=5), realm.clinic_jwt(age=5, name="CLINIC")}
    for text in texts:
        published.put(Place(first.account, ""), text.encode(), stored=False)
        lookup.verify(60.0)
        first.take_news()
    first.close()
    again = realm.trust(creds, marks=marks)
    assert {each.claims.text for each in again.members.known[""].authority.accounts} == texts


def test_the_accounts_of_others_are_kept_too(realm: Realm, creds: Path, marks: Path) -> None:
    first = realm.trust(creds, marks=marks)
    published, lookup = first.attach()
    text = realm.insurer_jwt(age=5)
    published.put(Place(realm.insurer.public, ""), text.encode(), stored=True)
    lookup.verify(60.0)
    first.take_news()
    first.close()
    again = realm.trust(creds, marks=marks)
    again.attach()
    assert again.error is None
    assert again.members.known["insurer"].authority.accounts[0].claims.text == text


def test_an_account_jwt_is_on_disk_with_its_mark(realm: Realm, creds: Path, marks: Path) -> None:
    """A kill between the two would leave a mark that refuses the folder."""
    first = realm.trust(creds, marks=marks)
    text = realm.clinic_jwt(age=5)
    show(first, text)
    assert text in marks.read_text().split("\n")


def test_forgotten_marks_of_an_account_take_its_jwt_with_them(
    realm: Realm, creds: Path, marks: Path
) -> None:
    trust, _ = restart_after_a_push(realm, creds, marks)
    trust.close()
    forget_marks(marks, [realm.account.public])
    again = realm.trust(creds, marks=marks)
    again.attach()
    assert again.error is None
    realm.revocations.clear()
    assert counts(again) == realm.clinic_jwt()


def test_damaged_marks_are_not_mended_by_a_jwt_after_them(
    realm: Realm, creds: Path, marks: Path
) -> None:
    trust, text = restart_after_a_push(realm, creds, marks)
    trust.close()
    marks.write_text(f"\n{text}\n")
    with pytest.raises(ConfigurationError, match="damaged"):
        realm.trust(creds, marks=marks)
