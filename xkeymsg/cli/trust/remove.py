"""`xkeymsg trust remove-signing-key`: what a signing key has issued ends, or is issued again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from xkeymsg.cli.table import aligned, bare
from xkeymsg.cli.trust.change import renew_creds, same_role_signer
from xkeymsg.cli.trust.flags import FOLDER, KEY, KEYS
from xkeymsg.cli.trust.issuing import (
    account_signer,
    check_user,
    operator_signer,
    reissue,
    reissue_account,
    reissue_operator,
)
from xkeymsg.cli.trust.store import AccountFile, Change, TrustStore, UserFile, editing, now
from xkeymsg.daemons.common.terminal import EXIT_FAILED, describe, one_line, say
from xkeymsg.errors import ConfigurationError, XKeyMsgError
from xkeymsg.nkey import is_public
from xkeymsg.trust.chain import Authority
from xkeymsg.trust.claims import Account, Operator
from xkeymsg.trust.jwt import Kind

__all__ = ("remove_signing_key",)

_Row = tuple[str, str, str, str]


class _Removal:
    """What ends with a signing key, and the change that removes it."""

    def __init__(
        self,
        store: TrustStore,
        change: Change,
        key: str,
        again: str | None,
        *,
        reissues: bool,
        dry: bool,
    ) -> None:
        self.store, self.change, self.key = store, change, key
        self.again, self.reissues, self.dry = again, reissues and not dry, dry
        self.rows: list[_Row] = []
        self.lasting = True
        """Whether everything that was valid stays valid."""
        self.undelivered: list[Path] = []
        """New JWTs of users whose seed is elsewhere."""

    # --- a key of the operator --------------------------------------------------------------------

    def of_operator(self, given: str | None) -> None:
        store, operator, text = self.store, self.store.operator, ""
        if self.key in operator.signers and not self.dry:
            signer = operator_signer(store, given)
            listed = operator.claims.nats.get("signing_keys", [])
            kept = [each for each in listed if each != self.key]
            text = reissue_operator(store, signer, signing_keys=kept)
            operator = Operator.decode(text)
        for account in store.accounts:
            if account.account.claims.issuer == self.key:
                self._account(account, operator)
        if text:
            self.change.update(store.operator_path, text)

    def _account(self, account: AccountFile, operator: Operator) -> None:
        def again() -> str:
            signer = account_signer(self.store, self.again, without=self.key)
            claims = account.account.claims
            text = reissue(Kind.ACCOUNT, signer, claims, claims.nats)
            self.store.authority(Account.decode(text), operator)
            self.change.update(account.path, text)
            return signer.public

        users = sum(1 for _ in self.store.users(account))
        what = f"with its {users} users"
        self._row("account", account.name, account.key, again, what)

    # --- a key of an account ----------------------------------------------------------------------

    def of_account(self, account: AccountFile, given: str | None) -> None:
        store, text, current = self.store, "", account
        if self.key in account.account.signers and not self.dry:
            signer = account_signer(store, given)
            listed = account.account.claims.nats.get("signing_keys", [])
            kept = [each for each in listed if _key(each) != self.key]
            text = reissue_account(store, account, signer, signing_keys=kept)
            current = AccountFile(account.path, Account.decode(text))
        authority = store.authority(current.account)
        for member in store.users(account):
            if member.user.claims.issuer == self.key:
                self._user(account, current, authority, member)
        for name, subject in self._activations():
            self.rows.append(("activation token", name, subject, "ends: ask for a new one"))
            self.lasting = False
        if text:
            self.change.update(account.path, text)

    def _user(
        self, before: AccountFile, current: AccountFile, authority: Authority, member: UserFile
    ) -> None:
        claims = member.user.claims
        if current.account.revokes(claims.issued, claims.subject):
            self.rows.append(("user", claims.name, claims.subject, "stays revoked"))
            return
        if 0 < claims.expires < now():
            self.rows.append(("user", claims.name, claims.subject, "had expired"))
            return

        def again() -> str:
            signer = same_role_signer(self.store, before, member, self.again, without=self.key)
            text = reissue(Kind.USER, signer, claims, claims.nats)
            check_user(self.store, current, authority, text)
            self.change.update(member.path, text)
            creds = self.store.creds(before, member.path)
            if not renew_creds(self.change, creds, text, claims.subject):
                self.undelivered.append(member.path)
            return signer.public

        self._row("user", claims.name, claims.subject, again)

    def _activations(self) -> Iterator[tuple[str, str]]:
        """Yield the importing account and the subject of each activation token of the key."""
        for account in self.store.accounts:
            imports = account.account.claims.nats.get("imports")
            for each in imports if isinstance(imports, list) else ():
                if isinstance(each, dict) and _issuer(each.get("token")) == self.key:
                    yield account.name, str(each.get("subject", ""))

    def _row(self, what: str, name: str, key: str, again: Any, more: str = "") -> None:
        """Issue a claim again if that was asked for, and note what happens to it."""
        outcome = "ends"
        if self.reissues:
            try:
                outcome = f"issued again by {again()}"
            except XKeyMsgError as error:
                outcome = f"ends, not issued again: {describe(error)}"
        self.lasting &= outcome.startswith("issued")
        self.rows.append((what, name, key, f"{outcome} {more}".rstrip()))


def _key(entry: object) -> object:
    return entry.get("key") if isinstance(entry, dict) else entry


def _issuer(token: object) -> object:
    """Return the issuer that a token names; it is not verified."""
    try:
        part = str(token).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return claims["iss"]
    except (ValueError, IndexError, KeyError, TypeError, RecursionError):
        return None


@click.command(
    "remove-signing-key", short_help="Remove a signing key, and list what becomes invalid."
)
@FOLDER
@click.argument("signing_key")
@click.option(
    "--reissue", "reissues", is_flag=True, help="Issue again what becomes invalid, if possible."
)
@click.option(
    "--reissue-with",
    metavar="KEY",
    help="The key that issues again, in the forms of -K; default: the only other one in --keys.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would become invalid.")
@KEYS
@KEY
def remove_signing_key(
    *,
    folder: Path,
    signing_key: str,
    reissues: bool,
    reissue_with: str | None,
    dry_run: bool,
    keys: Path | None,
    key: str | None,
) -> int:
    """Remove SIGNING_KEY from the operator or the account that lists it.

    \b
    xkeymsg trust remove-signing-key HOSPITAL KEY --dry-run
    xkeymsg trust remove-signing-key HOSPITAL KEY --reissue

    Everything that it issued becomes invalid as soon as servers and readers have the new JWT.
    With --reissue, accounts or users are issued again by another key of the same role; users that
    are revoked or have expired are not. Exit 1 if anything becomes invalid. Run it again with
    --reissue to issue the rest later. -K is the key that issues the operator or account JWT.
    """  # noqa: D301 - click reads the character
    if not is_public(signing_key):
        raise ConfigurationError("expected a public key O… or A…")
    with editing(folder, keys) as (store, change):
        removal = _Removal(
            store,
            change,
            signing_key,
            reissue_with,
            reissues=reissues or bool(reissue_with),
            dry=dry_run,
        )
        _check_identity(store, signing_key)
        owners = [
            each
            for each in store.accounts
            if signing_key in each.account.signers
            or any(u.user.claims.issuer == signing_key for u in store.users(each))
        ]
        issued = any(a.account.claims.issuer == signing_key for a in store.accounts)
        if signing_key in store.operator.signers or issued:
            removal.of_operator(key)
        elif not owners:
            raise ConfigurationError(f"{store.path}: {signing_key} is not a signing key here")
        for account in owners:
            removal.of_account(account, key)
    shown = [(what, bare(name), bare(of), one_line(end)) for what, name, of, end in removal.rows]
    for line in aligned(shown):
        click.echo(line)
    for path in removal.undelivered:
        say("xkeymsg", f"give the user its new JWT: {path}")
    return 0 if removal.lasting else EXIT_FAILED


def _check_identity(store: TrustStore, key: str) -> None:
    if key == store.operator.claims.subject:
        raise ConfigurationError(
            "this is the operator's identity: run `xkeymsg trust init --identity-only`"
        )
    if any(key == each.key for each in store.accounts):
        raise ConfigurationError(
            "this is an account's identity: readers and servers refuse it as an issuer under"
            " strict_signing_key_usage; otherwise move its users to a new account"
        )
