"""`xkeymsg trust init | add-signing-key | add-account | add-user | certify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from xkeymsg.cli.keys import new_seed
from xkeymsg.cli.output import locked
from xkeymsg.cli.trust.flags import (
    ACCOUNT,
    EXPIRES,
    FOLDER,
    KEY,
    KEYS,
    PERMISSIONS,
    PUBLIC_KEY,
    ends,
    subject_flags,
    taken_subjects,
    when,
)
from xkeymsg.cli.trust.issuance import (
    account_signer,
    check_clock,
    check_user,
    new_operator,
    operator_signer,
    permission_tags,
    reissue_account,
    reissue_operator,
    revoked_at,
    scope_of,
    user_nats,
    user_signer,
)
from xkeymsg.cli.trust.keys import KeyFolder, given_key
from xkeymsg.cli.trust.store import (
    Change,
    TrustStore,
    check_name,
    default_keys,
    editing,
    make_folder,
    now,
)
from xkeymsg.daemons.common.parameters import DURATION, XKEY
from xkeymsg.daemons.common.terminal import say
from xkeymsg.errors import ConfigurationError, RevokedError, WrongIssuerError
from xkeymsg.files import read_text
from xkeymsg.keys import XKey
from xkeymsg.nkey import Prefix, SigningKey, decode_public
from xkeymsg.trust.chain import check_certificate, identify
from xkeymsg.trust.claims import Account, Certificate
from xkeymsg.trust.creds import format_creds
from xkeymsg.trust.jwt import UNLIMITED_ACCOUNT, Kind, issue, issue_time
from xkeymsg.trust.marks import Marks
from xkeymsg.trust.names import fold_name

__all__ = ("add_account", "add_signing_key", "add_user", "certify", "init")

_MOST_CERTIFICATES: Final = 24
_LONGEST: Final = 30 * 86_400


def _new_key(change: Change, keys: KeyFolder, kind: Prefix) -> SigningKey:
    """Generate a key, and add its seed to the change."""
    seed, key = new_seed(kind)
    change.secret(keys.place(key.public), seed)
    return key


def _public(change: Change, keys: KeyFolder, kind: Prefix, given: str | None) -> str:
    """Return a given public key, or that of a new key."""
    if given is None:
        return _new_key(change, keys, kind).public
    decode_public(kind, given)
    return given


def _show_new(public: str, keys: KeyFolder, given: str | None) -> None:
    """Print a public key, and where its seed is if it is new."""
    click.echo(public)
    if given is None:
        say("xkeymsg", f"wrote the seed to {keys.place(public)}")


@click.command(short_help="Create an operator, or its new identity.")
@FOLDER
@click.option("--name", help="The operator's name; default: that of FOLDER.")
@click.option(
    "--identity-only",
    is_flag=True,
    help="Replace the identity of an existing operator: same signing keys, a new anchor.",
)
@click.option(
    "--allow-identities",
    is_flag=True,
    help="Let identities issue JWTs, too (no strict_signing_key_usage).",
)
@KEYS
@KEY
def init(
    *,
    folder: Path,
    name: str | None,
    identity_only: bool,
    allow_identities: bool,
    keys: Path | None,
    key: str | None,
) -> None:
    """Create an operator in FOLDER, and print its public key: the anchor of every reader.

    \b
    xkeymsg trust init HOSPITAL

    The seed goes to --keys; move it to a machine without a network. With --identity-only, accounts
    and users stay valid; replace the anchor in each reader, and the server's `operator`.
    """  # noqa: D301 - click reads the character
    if identity_only:
        if name or allow_identities:
            raise click.UsageError("--identity-only keeps the name and the rules of the operator")
        with editing(folder, keys) as (store, change):
            last = store.operator.claims
            identity = given_key(key, store.keys) if key else None
            identity = identity or _new_key(change, store.keys, Prefix.OPERATOR)
            if identity.public in (last.subject, *store.operator.signers):
                raise WrongIssuerError("the new identity must be a new key")
            _operator_key(identity)
            text = new_operator(identity, last.name, last.nats, issue_time(now(), last.issued))
            change.update(store.operator_path, text)
        _show_new(identity.public, store.keys, key)
        return
    name = folder.absolute().name if name is None else name
    check_name(name, "an operator")
    seeds, change = KeyFolder(keys or default_keys(folder)), Change()
    identity = given_key(key, seeds) if key else _new_key(change, seeds, Prefix.OPERATOR)
    _operator_key(identity)
    rules = {} if allow_identities else {"strict_signing_key_usage": True}
    text = new_operator(identity, name, rules, now())
    make_folder(folder, 0o755)
    with locked(folder):
        if any(folder.glob("*.jwt")):
            raise ConfigurationError(f"{folder}: there is an operator already; nothing was changed")
        change.new(folder / f"{name}.jwt", text)
        change.apply()
        make_folder(folder / "accounts", 0o755)  # readers report one that is missing
    _show_new(identity.public, seeds, key)


def _operator_key(key: SigningKey) -> None:
    if key.public[0] != Prefix.OPERATOR.letter:
        raise WrongIssuerError(f"{key.public} is not the key of an operator")


@click.command("add-signing-key", short_help="Add a signing key to the operator or an account.")
@FOLDER
@click.argument("account", required=False)
@PUBLIC_KEY
@click.option("--role", metavar="ROLE", help="Make it a scoped key, of this role.")
@click.option(
    "--grant",
    "grants",
    multiple=True,
    metavar="PERMISSION",
    help="A permission that all keys of the role may grant; repeatable.",
)
@subject_flags
@KEYS
@KEY
def add_signing_key(
    *,
    folder: Path,
    account: str | None,
    public_key: str | None,
    role: str | None,
    grants: tuple[str, ...],
    keys: Path | None,
    key: str | None,
    **flags: Any,
) -> None:
    """Add a signing key to the operator, or to ACCOUNT, and print it.

    \b
    xkeymsg trust add-signing-key HOSPITAL
    xkeymsg trust add-signing-key HOSPITAL CLINIC
    xkeymsg trust add-signing-key HOSPITAL CLINIC --role reader --grant billing \\
        --allow-sub 'ehr.billing.>'

    The operator's identity signs a key of the operator; a signing key of the operator signs those
    of an account. The users of a scoped key have the subjects given here, and only permissions
    given with --grant.
    """  # noqa: D301 - click reads the character
    subjects = taken_subjects(flags)
    if role is None and (grants or any(subjects)):
        raise click.UsageError("--grant and subjects require --role")
    if account is None and role is not None:
        raise click.UsageError("--role requires an ACCOUNT")
    with editing(folder, keys) as (store, change):
        if account is None:
            signer = operator_signer(store, key)
            new = _public(change, store.keys, Prefix.OPERATOR, public_key)
            listed = list(store.operator.claims.nats.get("signing_keys", []))
            _check_new(new, store.operator.claims.subject, listed)
            text = reissue_operator(store, signer, signing_keys=[*listed, new])
            change.update(store.operator_path, text)
        else:
            found = store.account(account)
            signer = account_signer(store, key)
            new = _public(change, store.keys, Prefix.ACCOUNT, public_key)
            _check_new(new, found.key, list(found.account.signers))
            nats = found.account.claims.nats
            listed = list(nats.get("signing_keys", []))
            entry = new if role is None else scope_of(new, role, subjects)
            permission_tags(grants)
            tags = list(nats.get("tags", []))
            tags += [tag for p in grants if (tag := f"grant:{role}:{p}") not in tags]
            text = reissue_account(store, found, signer, signing_keys=[*listed, entry], tags=tags)
            change.update(found.path, text)
    _show_new(new, store.keys, public_key)


def _check_new(key: str, identity: str, listed: list[str]) -> None:
    if key == identity or key in listed:
        what = "the identity" if key == identity else "a signing key already"
        raise ConfigurationError(f"{key} is {what}; nothing was changed")


@click.command("add-account", short_help="Add an account.")
@FOLDER
@click.argument("name")
@PUBLIC_KEY
@click.option("--jetstream", is_flag=True, help="Let it use JetStream, without limits.")
@click.option(
    "--system",
    is_flag=True,
    help="Make it the servers' system account; also needs the operator's identity in --keys.",
)
@KEYS
@KEY
def add_account(
    *,
    folder: Path,
    name: str,
    public_key: str | None,
    jetstream: bool,
    system: bool,
    keys: Path | None,
    key: str | None,
) -> None:
    """Add the account NAME, issued by a signing key of the operator, and print its public key.

    \b
    xkeymsg trust add-account HOSPITAL CLINIC -K operator-signing.nk
    """  # noqa: D301 - click reads the character
    check_name(name, "an account")
    with editing(folder, keys) as (store, change):
        signer = account_signer(store, key)
        identity = operator_signer(store, None) if system else None
        for each in store.accounts:
            if fold_name(each.name) == fold_name(name):
                raise ConfigurationError(f"{store.path}: there is an account {each.name} already")
        account = _public(change, store.keys, Prefix.ACCOUNT, public_key)
        if any(account == each.key for each in store.accounts):
            raise ConfigurationError(f"{store.path}: there is an account {account} already")
        limits = dict(UNLIMITED_ACCOUNT["limits"])
        if jetstream:
            limits |= dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
        nats = {**UNLIMITED_ACCOUNT, "limits": limits}
        text = issue(Kind.ACCOUNT, signer, account, nats, issued=now(), name=name)
        store.authority(Account.decode(text))
        change.new(store.path / "accounts" / name / f"{name}.jwt", text)
        if identity is not None:
            operator = reissue_operator(store, identity, system_account=account)
            change.update(store.operator_path, operator)
    _show_new(account, store.keys, public_key)


@click.command("add-user", short_help="Add a user to an account.")
@FOLDER
@ACCOUNT
@click.argument("name")
@PERMISSIONS
@subject_flags
@EXPIRES
@PUBLIC_KEY
@KEYS
@KEY
def add_user(
    *,
    folder: Path,
    account: str,
    name: str,
    permissions: tuple[str, ...],
    expires: float,
    public_key: str | None,
    keys: Path | None,
    key: str | None,
    **flags: Any,
) -> None:
    """Add the user NAME to ACCOUNT, print its public key, and write its credentials to --keys.

    \b
    xkeymsg trust add-user HOSPITAL CLINIC ward-a --permission clinic -K clinic-signing.nk
    xkeymsg trust add-user HOSPITAL CLINIC billing-eu --permission billing -K reader

    With a role as -K, a scoped key issues it: `reader:billing-eu`. With --public-key, it writes
    only the JWT.
    """  # noqa: D301 - click reads the character
    check_name(name, "a user")
    with editing(folder, keys) as (store, change):
        found = store.account(account)
        signer = user_signer(store, found, key)
        seed, own = new_seed(Prefix.USER)
        user = own.public if public_key is None else public_key
        decode_public(Prefix.USER, user)
        if any(user == each.user.claims.subject for each in store.users(found)):
            raise ConfigurationError(f"{found.name}: there is a user {user} already")
        _check_not_revoked(found.account, user)
        nats = user_nats(found, signer, permission_tags(permissions), taken_subjects(flags))
        issued = issue_time(now(), 0, revoked_at(found.account, user))
        check_clock(issued)
        text = issue(
            Kind.USER, signer, user, nats, issued=issued, name=name, expires=ends(now(), expires)
        )
        verdict = check_user(store, found, store.authority(found.account), text)
        path = found.users / f"{name}.jwt"
        creds = store.creds(found, path)
        if public_key is None:
            change.secret(creds, format_creds(text, seed))
        change.new(path, text)
    click.echo(user)
    if public_key is None:
        say("xkeymsg", f"wrote {verdict.name}'s credentials to {creds}")


@click.command(short_help="Certify an xkey of a user.")
@FOLDER
@ACCOUNT
@click.argument("user")
@click.argument("xkey", type=XKEY)
@click.option(
    "--life",
    type=DURATION,
    default="30d",
    show_default=True,
    help="How long the certificate lasts; at most 30d.",
)
@KEYS
@KEY
def certify(
    *,
    folder: Path,
    account: str,
    user: str,
    xkey: XKey,
    life: float,
    keys: Path | None,
    key: str | None,
) -> None:
    """Certify that XKEY is a key of USER; others seal to it from now on.

    \b
    xkeymsg trust certify HOSPITAL CLINIC ward-a $(xkeymsg pub ward-a.seed) -K ward-a.creds

    The user's own key signs: by default that of its credentials in --keys. Certificates of earlier
    keys stay, so that older messages are still admitted. Renew the certificate before it expires.
    """  # noqa: D301 - click reads the character
    if life > _LONGEST:
        raise click.BadParameter("readers accept at most 30d", param_hint="--life")
    with editing(folder, keys) as (store, change):
        found = store.account(account)
        path, member = store.user(found, user)
        subject = member.claims.subject
        _check_not_revoked(found.account, str(xkey))
        authority = store.authority(found.account)
        identity = identify(authority, subject, [member], now(), Marks())
        identity.check_life(now())
        signer = _user_key(store, subject, key, store.creds(found, path))
        known = [each.claims.issued for each in store.source.certificates.get(subject, ())]
        begin = now()
        # Later than the user JWT, so that revoking an older JWT does not end the certificate.
        revoked = revoked_at(found.account, subject)
        issued = issue_time(begin, max([member.claims.issued, *known]), revoked)
        check_clock(issued)
        text = issue(
            Kind.XKEY, signer, str(xkey), {"issuer_account": found.key},
            issued=issued, not_before=begin, expires=begin + int(life),
        )  # fmt: skip
        certified = check_certificate(authority, identity, Certificate.decode(text), begin)
        place = path.with_name(f"{path.stem}.xkeys")
        if (fault := store.source.faults.get(str(place))) is not None:
            raise ConfigurationError(f"{fault}; correct the file, or remove it")
        lines = read_text(place, ConfigurationError).splitlines() if place.exists() else []
        lines = lines[-(_MOST_CERTIFICATES - 1) :]
        change.update(place, "".join(f"{line}\n" for line in [*lines, text]))
    click.echo(f"{xkey} until {when(certified.not_after)}")


def _check_not_revoked(account: Account, key: str) -> None:
    if key in account.revocations:
        raise RevokedError(f"{key} was revoked: use a new key")


def _user_key(store: TrustStore, user: str, given: str | None, creds: Path) -> SigningKey:
    if given is None:
        given = str(creds) if creds.exists() else user
    key = given_key(given, store.keys)
    if key.public != user:
        raise WrongIssuerError(f"only the user itself certifies its xkeys: use -K with {user}")
    return key
