"""`xkeymsg trust describe | verify`: who is who, and whether readers accept it; needs no secret."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click

from xkeymsg.cli.table import aligned, bare
from xkeymsg.cli.trust.flags import FOLDER, TIME, extent, when
from xkeymsg.cli.trust.store import AccountFile, TrustStore, now
from xkeymsg.cli.trust.verdicts import UserVerdict, Verdicts
from xkeymsg.daemons.common.parameters import DURATION
from xkeymsg.daemons.common.terminal import EXIT_FAILED, one_line, say
from xkeymsg.display import cut
from xkeymsg.errors import UnknownKeyError
from xkeymsg.nkey import Prefix, decode_public
from xkeymsg.trust.stores.signers import ValidSigner

__all__ = ("describe", "verify")

_ANCHOR: Final = click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="O…",
    help="The operator's identity that readers trust; default: that of FOLDER. Repeatable.",
)
_AT: Final = click.option("--at", type=TIME, help="Show validity at this time; default: now.")
_SECTION = list[tuple[str, str]]


def _judged(folder: Path, at: int | None, anchors: Iterable[str]) -> Verdicts:
    for each in anchors:
        decode_public(Prefix.OPERATOR, each)
    return Verdicts(TrustStore(folder), now() if at is None else at, frozenset(anchors))


@click.command(short_help="Show operator, accounts and users.")
@FOLDER
@click.argument("names", metavar="[NAME]…", nargs=-1)
@_ANCHOR
@_AT
@click.option(
    "--expiring",
    type=DURATION,
    metavar="LIFE",
    help="Only show what expires within this time; exit 1 if anything does.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def describe(
    *,
    folder: Path,
    names: tuple[str, ...],
    anchors: tuple[str, ...],
    at: int | None,
    expiring: float | None,
    as_json: bool,
) -> int:
    """Show the operator, its accounts and their users, or only the accounts and users NAME.

    \b
    xkeymsg trust describe HOSPITAL
    xkeymsg trust describe HOSPITAL ward-a --at 2027-01-31T12:00:00Z
    xkeymsg trust describe HOSPITAL --expiring 30d

    Exit 1 if a file cannot be read.
    """  # noqa: D301 - click reads the character
    verdicts = _judged(folder, at, anchors)
    failed = EXIT_FAILED if verdicts.store.say_faults() else 0
    users = list(verdicts.users())
    if names:
        users = [each for each in users if _names(each) & {*names}]
    if expiring is not None:
        return _expiring(verdicts, users, int(expiring), as_json=as_json) or failed
    if as_json:
        click.echo(json.dumps(verdicts.json(users), indent=2, ensure_ascii=False))
    elif names:
        _describe_some(verdicts, users, frozenset(names))
    else:
        _describe_all(verdicts, users)
    return failed


def _names(each: UserVerdict) -> set[str]:
    claims = each.user.claims
    return {claims.name, claims.subject, each.account.name, each.account.key}


def _describe_all(verdicts: Verdicts, users: list[UserVerdict]) -> None:
    _box("Operator Details", [_operator(verdicts)])
    for account in verdicts.store.accounts:
        _describe_account(verdicts, account)
    _list_users(users)
    for note in verdicts.notes():
        say("xkeymsg", f"note: {note}")


def _describe_some(verdicts: Verdicts, users: list[UserVerdict], names: frozenset[str]) -> None:
    accounts = [each for each in verdicts.store.accounts if {each.name, each.key} & names]
    for account in accounts:
        _describe_account(verdicts, account)
    if accounts:
        _list_users([each for each in users if each.account in accounts])
    for each in users:
        if {each.user.claims.name, each.user.claims.subject} & names:
            _box("User", _user(each))
    if not users and not accounts:
        raise UnknownKeyError(f"{verdicts.store.path}: no account or user of this name")


def _expiring(verdicts: Verdicts, users: list[UserVerdict], life: int, *, as_json: bool) -> int:
    limit = verdicts.at + life
    store, rows = verdicts.store, list[tuple[str, str, str, int]]()
    for what, name, claims in [
        ("operator", store.name, store.operator.claims),
        *(("account", account.name, account.account.claims) for account in store.accounts),
    ]:
        if 0 < claims.expires <= limit:  # even if it has expired: all below it ends with it
            rows.append((what, name, "", claims.expires))
    valid = [each for each in users if each.status == "valid"]
    ending = [each for each in valid if 0 < each.ends <= limit]
    rows += [("user", each.account.name, each.user.claims.name, each.ends) for each in ending]
    for each in valid:
        keys = each.identity.keys if each.identity else ()
        current = [key for key in keys if key.not_before <= verdicts.at and not key.revoked]
        if current and current[-1].not_after <= limit:
            name = each.user.claims.name
            rows.append(("xkey", each.account.name, name, current[-1].not_after))
    rows.sort(key=lambda row: row[3])
    shown = [(kind, bare(of), bare(name or "-"), when(end)) for kind, of, name, end in rows]
    if as_json:
        click.echo(json.dumps(verdicts.json(ending), indent=2, ensure_ascii=False))
    elif shown:
        _echo(aligned([("WHAT", "ACCOUNT", "NAME", "ENDS"), *shown]))
    return EXIT_FAILED if rows else 0


# --- tables ---------------------------------------------------------------------------------------


def _operator(verdicts: Verdicts) -> _SECTION:
    operator = verdicts.store.operator
    claims = operator.claims
    rows = [
        ("Name", verdicts.store.name),
        ("Operator ID", claims.subject),
        ("Issuer ID", claims.issuer),
        ("Issued", when(claims.issued)),
        ("Expires", when(claims.expires) if claims.expires else ""),
        ("Require Signing Keys", str(operator.strict).lower()),
    ]
    system = claims.nats.get("system_account")
    rows += [("System Account", str(system))] if system else []
    rows += _many("Signing Keys", sorted(operator.signers))
    if verdicts.operator_error is not None:
        rows.append(("Refused", f"{verdicts.operator_error.code}: {verdicts.operator_error}"))
    return rows


def _describe_account(verdicts: Verdicts, account: AccountFile) -> None:
    claims, error = account.account.claims, verdicts.account_error(account)
    first = [
        ("Name", account.name),
        ("Account ID", account.key),
        ("Issuer ID", claims.issuer),
        ("Issued", when(claims.issued)),
        ("Expires", when(claims.expires) if claims.expires else ""),
        *(_many("Tags", sorted(account.account.tags)) if account.account.tags else ()),
    ]
    if error is not None:
        first.append(("Refused", f"{error.code}: {error}"))
    signers = account.account.signers
    sections = [first, _many("Signing Keys", list(signers))]
    valid = [_signer(each) for each in verdicts.signers(account)]
    sections.append(_many("Valid Signers", valid))
    revoked = [f"{key}, {extent(key, at)}" for key, at in account.account.revocations.items()]
    sections.append(_many("Revocations", revoked))
    _box("Account Details", sections)
    for entry in claims.nats.get("signing_keys", []):
        if isinstance(entry, dict):
            _box("Scoped Signing Key - Details", [_scope(entry)])


def _signer(each: ValidSigner) -> str:
    role = f" (role {cut(each.role)})" if each.role else ""
    return f"{each.key}{' (the identity)' if each.identity else role}"


def _scope(entry: dict[str, Any]) -> _SECTION:
    template = entry.get("template") or {}
    rows = [("Key", str(entry.get("key"))), ("Role", str(entry.get("role", "")))]
    for side in ("pub", "sub"):
        for verb in ("allow", "deny"):
            found = list(map(str, (template.get(side) or {}).get(verb) or ()))
            rows += _many(f"{side.title()} {verb.title()}", found) if found else []
    return rows


def _user(each: UserVerdict) -> list[_SECTION]:
    claims, identity, nats = each.user.claims, each.identity, each.user.claims.nats
    status = each.status if each.error is None else f"{each.status}: {each.error}"
    first = [
        ("Name", claims.name),
        ("Known As", (identity.name if identity else "") or claims.subject),
        ("User ID", claims.subject),
        ("Issuer ID", claims.issuer),
        ("Issuer Account", each.user.account),
        ("Issued", when(claims.issued)),
        ("Expires", when(claims.expires) if claims.expires else ""),
        ("Bearer Token", "Yes" if (identity.bearer if identity else each.user.bearer) else "No"),
        ("Status", status),
    ]
    second = _many("Permissions", sorted(identity.permissions) if identity else [])
    if identity and identity.ungranted:
        second += _many("Not Granted", sorted(identity.ungranted))
    for side in ("pub", "sub"):
        for verb in ("allow", "deny"):
            found = list(map(str, (nats.get(side) or {}).get(verb) or ()))
            second += _many(f"{side.title()} {verb.title()}", found) if found else []
    xkeys = [
        f"{key.key} until {when(key.not_after)}{' (revoked)' if key.revoked else ''}"
        for key in reversed(identity.keys if identity else ())
    ]
    return [first, second, _many("XKeys", xkeys)]


def _many(title: str, values: Sequence[str]) -> _SECTION:
    first, *more = values or ["None"]
    return [(title, first), *(("", each) for each in more)]


def _box(title: str, sections: Sequence[_SECTION]) -> None:
    """Print a table like nsc's."""
    safe = [[(left, one_line(right)) for left, right in section] for section in sections]
    rows = list(chain(*safe))
    left = max(len(each) for each, _ in rows)
    right = max(*(len(each) for _, each in rows), len(title) - left - 3)
    rule = f"+-{'-' * left}-+-{'-' * right}-+"
    click.echo(f"+-{'-' * (left + 3 + right)}-+")
    click.echo(f"| {title.center(left + 3 + right)} |")
    click.echo(rule)
    for section in safe:
        for name, value in section:
            click.echo(f"| {name.ljust(left)} | {value.ljust(right)} |")
        click.echo(rule)
    click.echo()


def _list_users(users: list[UserVerdict]) -> None:
    rows = [["ACCOUNT", "USER", "KEY", "STATUS", "PERMISSIONS", "EXPIRES"]]
    for each in users:
        name = (each.identity.name if each.identity else "") or each.user.claims.name
        held = " ".join(sorted(each.identity.permissions)) if each.identity else ""
        status = f"refused: {each.code}" if each.status == "refused" else each.status
        ends = when(each.ends) if each.ends else "never"
        key = each.user.claims.subject
        rows.append([bare(each.account.name), bare(name or "-"), key, status, held or "-", ends])
    _echo(aligned(rows))


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


@click.command(short_help="Check a folder as readers do.")
@FOLDER
@_ANCHOR
@_AT
def verify(*, folder: Path, anchors: tuple[str, ...], at: int | None) -> int:
    """Check the whole FOLDER as readers and servers do; needs no secret.

    \b
    xkeymsg trust verify HOSPITAL --anchor OPERATOR

    Exit 1 if a file cannot be read, or a claim is refused. Notes are about valid but risky claims.
    """  # noqa: D301 - click reads the character
    verdicts = _judged(folder, at, anchors)
    errors = list(verdicts.errors())
    for each in errors:
        say("xkeymsg", f"error: {each}")
    for each in verdicts.notes():
        say("xkeymsg", f"note: {each}")
    click.echo(one_line(_summary(verdicts)))
    return EXIT_FAILED if errors else 0


def _summary(verdicts: Verdicts) -> str:
    users = list(verdicts.users())
    valid = sum(1 for each in users if each.status == "valid")
    signers = sum(len(verdicts.signers(each)) for each in verdicts.store.accounts)
    return (
        f"{verdicts.store.name}: {len(verdicts.store.accounts)} accounts, {signers} valid signers,"
        f" {valid} of {len(users)} users valid; anchor {', '.join(sorted(verdicts.anchors))}"
    )
