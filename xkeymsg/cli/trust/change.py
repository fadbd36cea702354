"""`xkeymsg trust edit-user | revoke | forget`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from xkeymsg.cli.trust.flags import (
    ACCOUNT,
    FOLDER,
    KEY,
    KEYS,
    PERMISSIONS,
    ends,
    expiry,
    extent,
    subject_flags,
    taken_subjects,
)
from xkeymsg.cli.trust.issuance import (
    SKEW,
    account_signer,
    check_user,
    permission_tags,
    reissue,
    reissue_account,
    revoked_at,
    user_nats,
    user_signer,
)
from xkeymsg.cli.trust.keys import KeyFolder
from xkeymsg.cli.trust.store import AccountFile, Change, TrustStore, UserFile, editing, now
from xkeymsg.daemons.common.terminal import say
from xkeymsg.display import cut
from xkeymsg.errors import (
    ConfigurationError,
    KeyFormatError,
    RevokedError,
    WrongAccountError,
    XKeyMsgError,
)
from xkeymsg.files import read_text
from xkeymsg.nkey import Prefix, SigningKey, decode_public, is_public
from xkeymsg.trust.chain import identify
from xkeymsg.trust.claims import Account, SigningScope, User
from xkeymsg.trust.creds import find_creds, format_creds
from xkeymsg.trust.jwt import Kind
from xkeymsg.trust.marks import Marks
from xkeymsg.trust.stores.file import read_private_text
from xkeymsg.trust.stores.marks_file import forget_marks

__all__ = ("edit_user", "forget", "renew_creds", "revoke", "same_role_signer")

_MOST: Final = 64 << 10


@click.command("edit-user", short_help="Change a user.")
@FOLDER
@ACCOUNT
@click.argument("user")
@PERMISSIONS
@click.option(
    "--drop-permission",
    "dropped",
    multiple=True,
    metavar="NAME",
    help="A permission to remove; repeatable.",
)
@subject_flags
@expiry(None)
@click.option("--reinstate", is_flag=True, help="Make a revoked user valid again.")
@click.option(
    "--operator-key",
    metavar="KEY",
    help="The operator's signing key that revokes the old JWT, in the forms of -K.",
)
@KEYS
@KEY
def edit_user(
    *,
    folder: Path,
    account: str,
    user: str,
    permissions: tuple[str, ...],
    dropped: tuple[str, ...],
    expires: float | None,
    reinstate: bool,
    operator_key: str | None,
    keys: Path | None,
    key: str | None,
    **flags: Any,
) -> None:
    """Issue a newer JWT for USER; the given subjects replace all earlier ones.

    \b
    xkeymsg trust edit-user HOSPITAL CLINIC ward-a --permission audit
    xkeymsg trust edit-user HOSPITAL CLINIC ward-a --drop-permission audit

    If the change removes a right, the old JWT is also revoked: a server would still accept it.
    That needs a signing key of the operator.
    """  # noqa: D301 - click reads the character
    subjects = taken_subjects(flags)
    with editing(folder, keys) as (store, change):
        found = store.account(account)
        member = store.user(found, user)
        last = member.user.claims
        _check_valid(store, found, member, reinstate=reinstate)
        signer = same_role_signer(store, found, member, key)
        nats = {**last.nats}
        if any(subjects):
            given = user_nats(found, signer, [], subjects)
            nats |= {"pub": given["pub"], "sub": given["sub"]}
        wanted = permission_tags(permissions)
        removed = set(permission_tags(dropped))
        had = list(nats.get("tags", []))
        tags = [tag for tag in dict.fromkeys([*had, *wanted]) if tag not in removed]
        nats["tags"] = tags
        ending = None if expires is None else ends(now(), expires)
        shorter = ending is not None and 0 < ending < (last.expires or ending + 1)
        lost = shorter or bool(removed & set(had)) or any(subjects)
        current = found
        if lost:
            text = _with_revocations(store, found, operator_key, {last.subject: last.issued})
            current = AccountFile(found.path, Account.decode(text))
        revoked = revoked_at(current.account, last.subject)
        jwt = reissue(Kind.USER, signer, last, nats, revoked=revoked, expires=ending)
        check_user(store, current, store.authority(current.account), jwt)
        change.update(member.path, jwt)
        if lost:
            change.update(found.path, text)
        renewed = renew_creds(change, store.creds(found, member.path), jwt, last.subject)
    if not renewed:
        say("xkeymsg", f"give {cut(last.name)} its new JWT: {member.path}")
    ended = [
        each
        for each in store.source.certificates.get(last.subject, ())
        if current.account.revokes(each.claims) and not found.account.revokes(each.claims)
    ]
    if ended:
        name, count = cut(last.name), len(ended)
        say("xkeymsg", f"certificates of {name} that become invalid: {count}; run certify again")
    click.echo(last.subject)


def _check_valid(
    store: TrustStore, account: AccountFile, member: UserFile, *, reinstate: bool
) -> None:
    """Check that readers accept the old JWT: a forged one must not become an honest one."""
    claims = member.user.claims
    try:
        identify(store.authority(account.account), claims.subject, [member.user], now(), Marks())
    except RevokedError:
        if not reinstate:
            raise RevokedError(
                f"{cut(claims.name)} is revoked, and would be valid again: give --reinstate, or add"
                " a user with a new key"
            ) from None


def same_role_signer(
    store: TrustStore,
    account: AccountFile,
    member: UserFile,
    given: str | None,
    *,
    without: str = "",
) -> SigningKey:
    """Return a key to issue a user again: that of its JWT, or another of the same role.

    Raises:
        TrustError: If the key may not issue users.
        ConfigurationError: If it has another role, or there is no seed of such a key.
    """
    issuer, signers = member.user.claims.issuer, account.account.signers
    name, old = cut(member.user.claims.name), signers.get(issuer)
    # A user without limits, by a key that is not listed, is probably of a removed scoped key.
    is_listed = issuer in (*signers, account.key)
    was_scoped = old is not None or (not is_listed and member.user.is_empty)
    if given is None and is_listed and issuer != without and store.keys.has(issuer):
        given = issuer
    elif given is None and was_scoped:
        given = _key_of_role(store.keys, account, name, old, without)
    signer = user_signer(store, account, given, without)
    new = signers.get(signer.public)
    same = (new is not None) == was_scoped and (old is None or new is None or new.role == old.role)
    if not same:
        what = f"of the role {cut(old.role)}" if old else "of a role" if was_scoped else "unscoped"
        raise ConfigurationError(
            f"{name} was issued by a key {what}, which decides its name and its rights: use such a"
            " key, or add a new user"
        )
    return signer


def _key_of_role(
    keys: KeyFolder, account: AccountFile, name: str, old: SigningScope | None, without: str
) -> str:
    """Return another key of the same role whose seed is here."""
    if old is None:
        raise ConfigurationError(f"{name}: its key was removed, and had a role: name another of it")
    scopes = account.account.signers.items()
    same = [key for key, scope in scopes if scope is not None and scope.role == old.role]
    here = [key for key in same if key != without and keys.has(key)]
    if not here:
        raise ConfigurationError(
            f"no seed of another key of the role {cut(old.role)} in {keys.path}: run"
            f" `xkeymsg trust add-signing-key` with --role {cut(old.role)}"
        )
    return here[0]


def renew_creds(change: Change, creds: Path, jwt: str, user: str) -> bool:
    """Add a user's credentials with a new JWT to a change; return whether the seed is here."""
    if not creds.exists():
        return False
    seed = find_creds(read_private_text(creds, limit=_MOST))[1]
    try:
        change.update_secret(creds, format_creds(jwt, seed or ""))
    except XKeyMsgError as error:
        raise ConfigurationError(f"{creds}: not the credentials of {user}: {error}") from None
    return True


def _with_revocations(
    store: TrustStore, account: AccountFile, key: str | None, entries: dict[str, int]
) -> str:
    """Return a newer account JWT with revocations; a later entry stays."""
    signer = account_signer(store, key)
    known = account.account.revocations
    raised = {each: max(at, known.get(each, at)) for each, at in entries.items()}
    return reissue_account(store, account, signer, revocations={**known, **raised})


@click.command(short_help="Revoke users, xkeys, or one JWT.")
@FOLDER
@ACCOUNT
@click.argument("targets", metavar="TARGET…", nargs=-1, required=True)
@KEYS
@KEY
def revoke(
    *, folder: Path, account: str, targets: tuple[str, ...], keys: Path | None, key: str | None
) -> None:
    """Revoke each TARGET: a user's name or key, an xkey X…, a file with one user JWT, or '*'.

    \b
    xkeymsg trust revoke HOSPITAL CLINIC ward-a
    xkeymsg trust revoke HOSPITAL CLINIC XKEY
    xkeymsg trust revoke HOSPITAL CLINIC stolen.jwt

    A signing key of the operator issues the account again. Messages of a revoked user or xkey are
    refused, whenever they were sealed: drain streams before revoking a user who merely leaves.
    '*' revokes all users and certificates issued until now. An xkey is revoked for good: certify
    another one.
    """  # noqa: D301 - click reads the character
    with editing(folder, keys) as (store, change):
        found = store.account(account)
        entries = dict(_entry(store, found, target) for target in targets)
        change.update(found.path, _with_revocations(store, found, key, entries))
    for each, at in entries.items():
        click.echo(f"{each} revoked, {extent(each, at)}")


def _entry(store: TrustStore, account: AccountFile, target: str) -> tuple[str, int]:
    """Return the entry of `revocations` for a target."""
    if target.endswith(".jwt"):
        user = User.decode(read_text(Path(target), ConfigurationError).strip())
        if user.account != account.key:
            raise WrongAccountError(f"{target}: a user of another account, {cut(user.account)}")
        return user.claims.subject, user.claims.issued
    if target[:1] == "X" and is_public(target):
        decode_public(Prefix.CURVE, target)
        return target, now()
    every = [c.claims for each in store.source.certificates.values() for c in each]
    if target == "*":
        users = [each.user.claims for each in store.users(account)]
    elif target[:1] == "U" and is_public(target):
        decode_public(Prefix.USER, target)
        users = [u for each in store.users(account) if (u := each.user.claims).subject == target]
    else:
        users = [store.user(account, target).user.claims]
        target = users[0].subject
    # A certificate that was made in the second of the user JWT is dated a second later. Those from
    # the future do not count: nothing newer could be issued then.
    keys, limit = {each.subject for each in users}, now() + SKEW
    certified = [each.issued for each in every if each.issuer in keys and each.issued <= limit]
    issued = [each.issued + 1 for each in users if target != "*" or each.issued < limit]
    return target, max([now(), *issued, *certified])


@click.command(short_help="Forget the rollback marks of a key.")
@click.argument("marks", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("subjects", metavar="KEY…", nargs=-1, required=True)
def forget(*, marks: Path, subjects: tuple[str, ...]) -> None:
    """Forget the rollback marks of operators, accounts or users in the file MARKS of a daemon.

    \b
    xkeymsg trust forget /var/lib/xkeymsg-receiver/marks.json KEY

    Stop the daemon first. Use it only when a clock was wrong: it permits a rollback to older
    claims of these keys until newer ones are seen.
    """  # noqa: D301 - click reads the character
    for each in subjects:
        if not is_public(each):
            raise KeyFormatError("expected public keys O…, A… or U…")
    forget_marks(marks, subjects)
