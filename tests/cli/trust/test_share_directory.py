"""`share-directory` writes what the documented nsc options describe, also into a store of nsc."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.cli.trust.admin import Admin
from tests.running import run
from xkeymsg import XKeyPair
from xkeymsg.testing import NATSServer
from xkeymsg.trust.claims import Account

GUIDE = Path(__file__).parent.parent.parent.parent / "docs" / "directory.md"
SYSTEM_SUBJECT = "$SYS.REQ.ACCOUNT.*.*"


class NSCAdmin(Admin):
    """The administrator of a store that nsc made."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "stores")
        self.keys = root / "keys"
        self.issuer = root / "signing-keys" / "operator-signing.nk"

    def issue(self, verb: str, *arguments: object) -> str:
        """Run a verb that changes an account, with the operator's signing key."""
        return self.run(verb, *arguments, "--keys", self.keys, "-K", self.issuer)

    def account(self, name: str) -> Account:
        return Account.decode((self.folder / "accounts" / name / f"{name}.jwt").read_text().strip())

    def key(self, name: str) -> str:
        return str(self.account(name).claims.subject)


@pytest.fixture
def admin(nsc_store: Path) -> NSCAdmin:
    admin = NSCAdmin(nsc_store)
    admin.issue("add-account", "SYS", "--system")
    return admin


def documented(variables: dict[str, str]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the exports and imports of each account that the nsc commands of the guide add."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in re.findall(r"^    nsc add (?:export|import) .*", GUIDE.read_text(), re.MULTILINE):
        command = re.sub(r"\$([a-z]+)", lambda name: variables[name[1]], line)
        _, _, kind, *words = shlex.split(command)
        is_service = "--service" in words
        options = iter(word for word in words if word != "--service")
        given = dict(zip(options, options, strict=True))
        claim: dict[str, Any] = {
            "name": given.pop("--name"), "type": "service" if is_service else "stream",
        }  # fmt: skip
        if kind == "export":
            claim["subject"] = given.pop("--subject")
            if is_service:
                claim["response_type"] = given.pop("--response-type", "Singleton")
            if "--account-token-position" in given:
                claim["account_token_position"] = int(given.pop("--account-token-position"))
        else:
            claim |= {
                "subject": given.pop("--remote-subject"), "account": given.pop("--src-account"),
            }  # fmt: skip
        found.setdefault((given.pop("--account"), f"{kind}s"), []).append(claim)
        assert not given, "an option that this test does not know"
    return found


def by_name(claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(claims, key=lambda each: str(each["name"]))


def test_it_writes_what_the_documented_nsc_options_describe(admin: NSCAdmin) -> None:
    admin.issue("share-directory", "CLINIC", "--with", "INSURER")
    keys = {each.lower(): admin.key(each) for each in ("CLINIC", "INSURER")}
    wanted = documented(keys | {"system": admin.key("SYS")})
    assert wanted.keys() == {
        ("CLINIC", "exports"), ("CLINIC", "imports"), ("INSURER", "imports"),
    }  # fmt: skip
    for (account, kind), claims in wanted.items():
        assert by_name(admin.account(account).claims.nats[kind]) == by_name(claims)
    assert len(wanted["INSURER", "imports"]) == 4
    [export] = admin.account("SYS").claims.nats["exports"]
    assert export["subject"] == SYSTEM_SUBJECT


def test_two_accounts_of_an_nsc_store_use_one_directory(admin: NSCAdmin) -> None:
    """Nsc has made both without JetStream, so a third account has the bucket."""
    anchor = admin.described()["operator"]["key"]
    admin.issue("add-account", "DIRECTORY", "--jetstream")
    for account in ("DIRECTORY", "INSURER"):
        admin.issue("add-signing-key", account)
    admin.issue("share-directory", "DIRECTORY", "--with", "CLINIC", "--with", "INSURER")
    for account, user in (("DIRECTORY", "boss"), ("INSURER", "claims")):
        admin.run("add-user", account, user, "--keys", admin.keys)
    admin.run("certify", "CLINIC", "ward-a", XKeyPair.generate().public, "--keys", admin.keys)
    config = admin.run("export", "--resolver", "full", "--dir", "{dir}/jwt")

    with NATSServer(config, jetstream=True) as server:

        def directory(verb: str, creds: Path, *more: str) -> str:
            login = ("--creds", str(creds), "--server", server.url)
            place = () if verb == "init" else (str(admin.folder), "--anchor", anchor)
            done = run("xkeymsg.cli", "directory", verb, *place, *more, *login)
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout.decode()

        boss = admin.creds("boss", "DIRECTORY")
        assert directory("init", boss) == "XKEYS created\n"
        assert "ward-a revision 1" in directory("publish", admin.creds("ward-a"))
        for path in admin.folder.glob("accounts/*/users/*"):
            path.unlink()
        clinic = f"clinic={admin.key('CLINIC')}"
        listed = directory("list", admin.creds("claims", "INSURER"), "--account", clinic)
        [_, ward] = listed.splitlines()
        assert ward.split()[0] == "clinic/ward-a"
        assert ward.split()[2] == "clinic", "the tag that nsc wrote is the permission"
