"""`describe` and `verify`: a store that nsc made, and what each side reads of the other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.trust.admin import Admin
from tests.running import DEADLINE, run
from xkeymsg.nkey import Prefix, SigningKey
from xkeymsg.trust.claims import Account, Operator, User
from xkeymsg.trust.jwt import Kind, issue

MADE = 1_795_919_065
OPERATOR = "OBZESL44JO6NXGNKZBJVAWP3SRMJIMHNQUMCBSKQYNUFRTWKKRY4OLTG"
needs_nsc = pytest.mark.skipif(shutil.which("nsc") is None, reason="nsc is not installed")


def trust(*arguments: object, code: int = 0) -> str:
    done = run("xkeymsg.cli", "trust", *map(str, arguments))
    assert done.returncode == code, done.stderr.decode()
    return (done.stdout if code == 0 else done.stdout + done.stderr).decode()


def described(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(trust("describe", *arguments, "--json"))
    return found


def test_the_json_of_a_store_that_nsc_made(nsc_store: Path) -> None:
    found = described(nsc_store, "--at", MADE + 3600)
    assert found.keys() == {"operator", "accounts", "users"}
    assert found["operator"]["key"] == OPERATOR
    assert found["operator"]["strict_signing_key_usage"] is True
    signers = {each["name"]: each["valid_signers"] for each in found["accounts"]}
    assert {name: len(keys) for name, keys in signers.items()} == {"CLINIC": 3, "INSURER": 0}
    users = {each.pop("name"): each for each in found["users"]}
    keys = {each.pop("key")[0] for each in users.values()}
    assert keys == {"U"}
    valid = {"account": "CLINIC", "status": "valid", "code": None, "bearer": False}
    assert users == {
        "ward-a": valid | {"permissions": ["clinic"]},
        "ward-b": valid | {"permissions": ["audit", "clinic"]},
        "billing-eu": valid | {"permissions": ["billing"]},
        "sneaky": valid | {"permissions": []},
        "zürich-labor": valid | {"permissions": ["research"]},
        "device": valid | {"permissions": ["clinic"], "bearer": True},
        "gone": valid | {"permissions": [], "status": "revoked", "code": "revoked"},
    }


def test_a_time_changes_the_verdict(nsc_store: Path) -> None:
    def statuses(at: object) -> dict[str, tuple[str, str | None]]:
        users = described(nsc_store, "--at", at)["users"]
        return {each["name"]: (each["status"], each["code"]) for each in users}

    assert {status for status, _ in statuses(MADE - 3600).values()} == {"refused"}
    in_twenty_years = statuses("2046-01-01T00:00:00Z")
    assert in_twenty_years["ward-b"] == ("expired", "expired_claim")
    assert in_twenty_years["ward-a"] == ("valid", None)


def test_another_anchor_refuses_all(nsc_store: Path) -> None:
    other = run("xkeymsg.cli", "keygen", "--type", "operator").stderr.decode().split()[-1]
    found = described(nsc_store, "--anchor", other)
    assert found["operator"]["code"] == "untrusted_operator"
    assert {each["code"] for each in found["users"]} == {"untrusted_operator"}
    assert {tuple(each["valid_signers"]) for each in found["accounts"]} == {()}
    assert "error: operator HOSPITAL" in trust("verify", nsc_store, "--anchor", other, code=1)


def test_the_tables(nsc_store: Path) -> None:
    whole = trust("describe", nsc_store)
    for title in ("Operator Details", "Account Details", "Scoped Signing Key - Details"):
        assert title in whole
    assert "| Pub Allow |" in whole
    assert "U" in trust("describe", nsc_store, "ward-a")
    assert "revoked: the account has revoked the user" in trust("describe", nsc_store, "gone")
    assert "unknown_key" in trust("describe", nsc_store, "nobody", code=1)


def test_verify_needs_no_secret_and_notes_what_is_risky(nsc_store: Path) -> None:
    shutil.rmtree(nsc_store / "keys")
    shutil.rmtree(nsc_store / "signing-keys")
    done = run("xkeymsg.cli", "trust", "verify", str(nsc_store), "--anchor", OPERATOR)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith("HOSPITAL: 2 accounts, 3 valid signers, 6 of 7 users")
    said = done.stderr.decode()
    assert "CLINIC/device: a bearer token is a password" in said
    assert "CLINIC/reader:sneaky: its role may not grant audit" in said
    assert "'reader': its template has expressions whose values the holder" in said


def test_what_ends_soon_sets_the_exit_code(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    admin.begin("CLINIC")
    admin.run("add-user", "CLINIC", "soon", "--expires", "10d")
    admin.run("add-user", "CLINIC", "later")
    assert admin.run("describe", "--expiring", "5d") == ""
    done = admin.done("describe", "--expiring", "30d")
    assert done.returncode == 1
    assert [line.split()[:3] for line in done.stdout.decode().splitlines()] == [
        ["WHAT", "ACCOUNT", "NAME"],
        ["user", "CLINIC", "soon"],
    ]
    as_json = admin.done("describe", "--expiring", "30d", "--json")
    assert as_json.returncode == 1
    assert [each["name"] for each in json.loads(as_json.stdout)["users"]] == ["soon"]


def test_faults_of_files_are_errors(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    admin.begin("CLINIC")
    admin.run("add-user", "CLINIC", "a")
    (admin.folder / "accounts/CLINIC/users/b.jwt").write_text("damaged")
    done = admin.done("verify")
    assert done.returncode == 1
    assert "b.jwt" in done.stderr.decode()


def test_names_alike_are_an_error(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    admin.begin("CLINIC")
    admin.run("add-user", "CLINIC", "ward-a")
    path = admin.folder / "accounts/CLINIC/users/ward-a.jwt"
    [seed] = (admin.keys / "A").rglob(f"{User.decode(path.read_text()).claims.issuer}.nk")
    signer, other = SigningKey(seed.read_text(), Prefix.ACCOUNT), User.decode(path.read_text())
    key = run("xkeymsg.cli", "keygen", "--type", "user").stderr.decode().split()[-1]
    text = issue(
        Kind.USER, signer, key, other.claims.nats, issued=other.claims.issued, name="WARD-A"
    )
    path.with_name("other.jwt").write_text(text)
    assert "several users have the same name" in trust("verify", admin.folder, code=1)


def test_names_from_outside_cannot_control_a_terminal(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    admin.begin("CLINIC")
    admin.run("add-user", "CLINIC", "a")
    path = admin.folder / "accounts/CLINIC/users/a.jwt"
    user = User.decode(path.read_text())
    [seed] = (admin.keys / "A").rglob(f"{user.claims.issuer}.nk")
    signer = SigningKey(seed.read_text(), Prefix.ACCOUNT)
    text = issue(
        Kind.USER, signer, user.claims.subject, user.claims.nats,
        issued=user.claims.issued + 1, name="\x1b[2Jevil\nUSER",
    )  # fmt: skip
    path.write_text(text)
    for verb in ("describe", "verify"):
        done = admin.done(verb)
        assert b"\x1b" not in done.stdout + done.stderr
        assert b"evil\n" not in done.stdout + done.stderr


# --- each side reads what the other wrote ---------------------------------------------------------


def test_the_keys_and_users_of_nsc_are_used_and_kept(nsc_store: Path) -> None:
    clinic = nsc_store / "stores/HOSPITAL/accounts/CLINIC"
    before = Account.decode((clinic / "CLINIC.jwt").read_text())
    operator_key, clinic_key = (
        nsc_store / "signing-keys" / name for name in ("operator-signing.nk", "clinic-signing.nk")
    )
    xkey = run("xkeymsg.cli", "keygen").stderr.decode().split()[-1]
    trust("certify", nsc_store, "CLINIC", "ward-a", xkey)  # with the creds of nsc
    trust("add-user", nsc_store, "CLINIC", "new", "--permission", "clinic", "-K", clinic_key)
    trust("add-user", nsc_store, "CLINIC", "payer", "--permission", "billing", "-K", "reader")
    second = ("-K", nsc_store / "signing-keys/clinic-signing-2.nk", "--operator-key", operator_key)
    trust("edit-user", nsc_store, "CLINIC", "ward-b", "--drop-permission", "audit", *second)
    trust("revoke", nsc_store, "CLINIC", "zürich-labor", "-K", operator_key)
    refused = trust("add-user", nsc_store, "INSURER", "claims", code=1)
    assert "INSURER has no signing key" in refused
    trust("add-signing-key", nsc_store, "INSURER", "-K", operator_key)
    trust("add-user", nsc_store, "INSURER", "claims")
    users = {each["name"]: each for each in described(nsc_store)["users"]}
    assert {name: each["status"] for name, each in users.items()} == {
        "billing-eu": "valid", "claims": "valid", "device": "valid", "gone": "revoked",
        "new": "valid", "payer": "valid", "sneaky": "valid", "ward-a": "valid",
        "ward-b": "valid", "zürich-labor": "revoked",
    }  # fmt: skip
    assert users["ward-b"]["permissions"] == ["clinic"]
    after = Account.decode((clinic / "CLINIC.jwt").read_text())
    changed = {"revocations"}
    for name, value in before.claims.nats.items():
        assert name in changed or after.claims.nats[name] == value
    assert before.revocations.items() <= after.revocations.items()
    assert (nsc_store / "keys/creds/HOSPITAL/CLINIC/new.creds").exists()


@needs_nsc
def test_nsc_reads_what_we_write(tmp_path: Path) -> None:
    admin = Admin(tmp_path / "ours")
    admin.root.mkdir()
    admin.folder = admin.root / "stores" / "HOSPITAL"
    admin.begin("CLINIC")
    admin.run("add-signing-key", "CLINIC", "--role", "reader", "--grant", "billing")
    environ = os.environ | {
        "NKEYS_PATH": str(admin.keys),
        "NSC_HOME": str(tmp_path / "home"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    for path in (admin.folder / "HOSPITAL.jwt", admin.folder / "accounts/CLINIC/CLINIC.jwt"):
        done = subprocess.run(
            ["nsc", "describe", "jwt", "-f", str(path)],
            env=environ, capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        claims = (Operator if "HOSPITAL.jwt" in str(path) else Account).decode(path.read_text())
        assert claims.claims.subject in done.stdout
