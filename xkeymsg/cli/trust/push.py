"""`xkeymsg trust push`: account JWTs to the full resolver of a running server.

A server stores whatever JWT it is sent: of another operator, or older than its own; after a restart
it locks out every user of that account. Hence each JWT is verified before it is sent, with the
operator of the folder and that of the server, compared with the server's JWT, read back, and tried
with a login.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import click

from xkeymsg.cli.keys import new_seed
from xkeymsg.cli.trust.flags import FOLDER, KEY, KEYS
from xkeymsg.cli.trust.issuance import Subjects, check_user, revoked_at, user_nats, user_signer
from xkeymsg.cli.trust.store import AccountFile, TrustStore, now
from xkeymsg.client.jetstream.api import API
from xkeymsg.daemons.common.flags import connection_flags, connection_options
from xkeymsg.directory.publisher import EntryPublisher
from xkeymsg.directory.reader import BucketReader
from xkeymsg.directory.settings import STREAM, subject_of
from xkeymsg.errors import (
    ConfigurationError,
    ConflictError,
    DeliveryError,
    RollbackError,
    TrustError,
    WrongAccountError,
    WrongIssuerError,
    XKeyMsgError,
)
from xkeymsg.nkey import Prefix
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions, LoginText
from xkeymsg.trust.claims import Account, Operator
from xkeymsg.trust.creds import format_creds
from xkeymsg.trust.jwt import Kind, issue, issue_time
from xkeymsg.trust.stores.chains import own_account
from xkeymsg.trust.stores.file import read_private_text
from xkeymsg.trust.stores.published_entry import Place

__all__ = ("push",)

_PROBE: Final = 60
"""Seconds for which the user of a login is valid."""
_UPDATE: Final = "$SYS.REQ.CLAIMS.UPDATE"
_CREDS: Final = 64 << 10


@click.command(short_help="Push account JWTs to a running server.")
@FOLDER
@click.argument("accounts", metavar="[ACCOUNT]…", nargs=-1)
@click.option(
    "--login",
    "logins",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CREDS",
    help="Credentials of a user to log in with afterwards; default: a user for 60 seconds.",
)
@click.option("--no-login", is_flag=True, help="Do not log in afterwards.")
@connection_flags
@KEYS
@KEY
def push(
    *,
    folder: Path,
    accounts: tuple[str, ...],
    logins: tuple[Path, ...],
    no_login: bool,
    keys: Path | None,
    key: str | None,
    **flags: Any,
) -> None:
    """Push the JWTs of all accounts, or of each ACCOUNT, to a server with a full resolver.

    \b
    xkeymsg trust push HOSPITAL CLINIC --creds system.creds

    --creds are those of a user of the system account. A JWT that is not valid, or older than the
    server's, is refused before anything is sent. Afterwards a user of each account logs in: that
    of --login, or one that a signing key in --keys (or -K) issues for 60 seconds. It publishes the
    JWT to the directory, too, if there is one.
    """  # noqa: D301 - click reads the character
    store = TrustStore(folder, keys)
    if not accounts:
        store.check_accounts()
    chosen = [store.account(each) for each in accounts] or store.accounts
    texts = {each.key: each.account.claims.text for each in chosen}
    users = {own_account(read_private_text(path, limit=_CREDS)).account: path for path in logins}
    if unknown := users.keys() - texts.keys():
        raise WrongAccountError(f"--login: the account {min(unknown)} is not pushed")
    tries: dict[str, LoginText] = {}
    for each in chosen:
        authority = store.authority(each.account)
        if no_login:
            continue
        if each.key in users:
            tries[each.key] = LoginText("--login", read_private_text(users[each.key], limit=_CREDS))
        elif authority.issuers:
            tries[each.key] = LoginText("a probe user", _probe(store, each, key))
    options = connection_options("xkeymsg", flags)
    asyncio.run(_push(store, options, chosen, texts, tries))


def _probe(store: TrustStore, account: AccountFile, key: str | None) -> str:
    """Return credentials that are valid for a minute."""
    try:
        signer = user_signer(store, account, key)
    except XKeyMsgError as error:
        raise ConfigurationError(
            f"{account.name}: cannot issue a user to log in with: {error}; or give --login, or"
            " --no-login"
        ) from None
    seed, user = new_seed(Prefix.USER)
    at = issue_time(now(), 0, revoked_at(account.account, user.public))
    entry = subject_of(Place(account.key, ""))
    subjects = Subjects(allow_pub=(entry, f"$JS.API.DIRECT.GET.{STREAM}"), allow_sub=("_INBOX.>",))
    if account.account.signers.get(signer.public) is not None:
        subjects = Subjects()
    nats = user_nats(account, signer, [], subjects)
    text = issue(
        Kind.USER, signer, user.public, nats, issued=at, name="push-probe", expires=at + _PROBE
    )
    check_user(store, account, store.authority(account.account), text)
    return format_creds(text, seed)


async def _push(
    store: TrustStore,
    options: ConnectOptions,
    accounts: list[AccountFile],
    texts: dict[str, str],
    tries: dict[str, LoginText],
) -> None:
    async with open_link(options) as link:
        found = {each.key: await _look_up(link, each.key, options.timeout) for each in accounts}
        _check_operators(store, await _operators(link, options.timeout), accounts)
        for each in accounts:  # all of them, before the first is sent
            _check_newer(store, each, found[each.key], texts[each.key])
        for each in accounts:
            text = texts[each.key]
            if found[each.key] != text:
                await _update(link, text, options.timeout)
                if await _look_up(link, each.key, options.timeout) != text:
                    raise DeliveryError(f"{each.name}: the server has another JWT afterwards")
            what = "is there already" if found[each.key] == text else "pushed"
            if each.key in tries:
                what += "; a user has logged in"
                if await _log_in(options, each, tries[each.key], store.operator):
                    what += "; the directory has it"
            click.echo(f"{each.name} {each.key} {what}")


async def _operators(link: Link, timeout: float) -> list[Operator]:
    """Return the operators that the server trusts."""
    raw = await link.request("$SYS.REQ.SERVER.PING.VARZ", b"", timeout=timeout)
    try:
        operators = json.loads(raw.data)["data"]["trusted_operators_jwt"]
        return list(map(Operator.decode, operators))
    except (ValueError, KeyError, TypeError, RecursionError, TrustError):
        raise DeliveryError(
            "the server does not say which operator it trusts: it must run in operator mode"
            " (`xkeymsg trust export`)"
        ) from None


def _check_operators(
    store: TrustStore, operators: list[Operator], accounts: list[AccountFile]
) -> None:
    ours = store.operator.claims
    for claims in (each.claims for each in operators):
        if claims.subject == ours.subject and claims.issued > ours.issued:
            raise RollbackError(
                "the server has a newer operator JWT: this folder is an old copy, get the new one"
            )
    for each in accounts:
        issuer = each.account.claims.issuer
        if not any(issuer in operator.signers for operator in operators):
            raise WrongIssuerError(
                f"{each.name}: the server's operator JWT does not list {issuer}: it would lock out"
                " all users; run `xkeymsg trust export`, and restart the server with the result"
            )


def _check_newer(store: TrustStore, account: AccountFile, there: str, ours: str) -> None:
    if there in ("", ours):
        return
    try:
        known = Account.decode(there)
        if known.claims.subject != account.key:
            return
        store.authority(known)
    except TrustError:
        return  # it does not count: ours replaces it
    issued = account.account.claims.issued
    if known.claims.issued > issued:
        raise RollbackError(
            f"{account.name}: the server has a newer JWT; get that one, or issue this one again"
        )
    if known.claims.issued == issued:
        raise ConflictError(
            f"{account.name}: the server has another JWT with the same `iat`; issue this one again"
        )


async def _look_up(link: Link, account: str, timeout: float) -> str:
    """Return the server's JWT of an account, or an empty text."""
    try:
        raw = await link.request(f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP", b"", timeout=timeout)
    except DeliveryError as error:
        raise DeliveryError(
            f"{error}: does the server have a full resolver (`xkeymsg trust export --resolver"
            " full`), and are --creds of its system account?"
        ) from None
    return raw.data.decode("utf-8", "replace").strip()


async def _update(link: Link, text: str, timeout: float) -> None:
    raw = await link.request(_UPDATE, text.encode(), timeout=timeout)
    try:
        code = json.loads(raw.data)["data"]["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        code = None
    if code != 200:
        raise DeliveryError("the server has refused the account JWT: see its log")


async def _log_in(
    options: ConnectOptions, account: AccountFile, creds: LoginText, operator: Operator
) -> bool:
    """Log in, publish the JWT to the directory, and return whether the directory has it."""
    is_in = False
    try:
        async with open_link(options.merged({"creds": creds})) as link:
            is_in = True
            api = API(link)
            publisher = EntryPublisher(api, BucketReader(api, frozenset((account.key,))))
            await publisher.publish_account(account.account.claims.text, operator.signers)
    except XKeyMsgError as error:
        if is_in:
            return False  # there is no directory, or the user may not write to it
        raise DeliveryError(f"{account.name}: pushed, but a login fails: {error}") from None
    return True
