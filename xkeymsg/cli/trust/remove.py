"""`xkeymsg trust remove-signing-key`: invalidates or reissues what a signing key has issued."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import click

from xkeymsg.cli.table import aligned, bare
from xkeymsg.cli.trust.change import renew_creds, same_role_signer
from xkeymsg.cli.trust.flags import FOLDER, KEY, KEYS
from xkeymsg.cli.trust.issuance import (
    account_signer,
    check_user,
    operator_signer,
    reissue,
    reissue_account,
    reissue_operator,
    user_signer,
)
from xkeymsg.cli.trust.store import AccountFile, Change, TrustStore, UserFile, editing, now
from xkeymsg.daemons.common.terminal import EXIT_FAILED, describe, one_line, say
from xkeymsg.errors import (
    ConfigurationError,
    ExpiredClaimError,
    RevokedError,
    WrongIssuerError,
    XKeyMsgError,
)
from xkeymsg.nkey import is_public
from xkeymsg.trust.chain import Authority
from xkeymsg.trust.claims import Account, Operator
from xkeymsg.trust.jwt import Claims, Kind, decode

__all__ = ("remove_signing_key",)

_Row = tuple[str, str, str, str]


class _Removal:
    """What becomes invalid with a signing key, and the change that removes the key."""

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
        self.lasting = not store.source.faults
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
        what = f"with {users} user{'s' * (users != 1)}"
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
        for importer in store.accounts:
            if importer.key != account.key:
                self._activations(current, authority, importer, given)
        if text:
            self.change.update(account.path, text)

    def _user(
        self, before: AccountFile, current: AccountFile, authority: Authority, member: UserFile
    ) -> None:
        claims = member.user.claims
        if current.account.revokes(claims):
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

    def _activations(
        self,
        exporter: AccountFile,
        authority: Authority,
        importer: AccountFile,
        given: str | None,
    ) -> None:
        """List the activation tokens of the key in the imports of an account, or issue them again.

        The importing account is issued again with them, by a key of the operator.
        """
        imports = importer.account.claims.nats.get("imports")
        entries = list(imports) if isinstance(imports, list) else []
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or _issuer(entry.get("token")) != self.key:
                continue

            def again(number: int = number, entry: dict[str, Any] = entry) -> str:
                claims = decode(str(entry["token"]), Kind.ACTIVATION)
                if claims.subject != importer.key or 0 < claims.expires < now():
                    raise ExpiredClaimError("it is for another account, or has expired")
                if _is_withdrawn(exporter.account, claims):
                    raise RevokedError("the export has revoked it")
                operator = account_signer(self.store, given)
                signer = user_signer(self.store, exporter, self.again, without=self.key)
                if not authority.issuers.get(signer.public):
                    raise WrongIssuerError(f"{signer.public} may not issue activation tokens")
                text = reissue(Kind.ACTIVATION, signer, claims, claims.nats)
                entries[number] = {**entry, "token": text}
                newer = reissue_account(self.store, importer, operator, imports=entries)
                self.change.update(importer.path, newer)
                return signer.public

            self._row("activation token", importer.name, str(entry.get("subject", "")), again)

    def _row(self, what: str, name: str, key: str, again: Any, more: str = "") -> None:
        """Issue a claim again if that was asked for, and note what happens to it."""
        outcome = "becomes invalid"
        if self.reissues:
            try:
                outcome = f"issued again by {again()}"
            except XKeyMsgError as error:
                outcome = f"becomes invalid, not issued again: {describe(error)}"
        self.lasting &= outcome.startswith("issued")
        self.rows.append((what, name, key, f"{outcome} {more}".rstrip()))


def _key(entry: object) -> object:
    return entry.get("key") if isinstance(entry, dict) else entry


def _is_withdrawn(exporter: Account, token: Claims) -> bool:
    """Return whether an export of the account has revoked an activation token."""
    exports = exporter.claims.nats.get("exports")
    listed = exports if isinstance(exports, list) else []
    found = [each.get("revocations") for each in listed if isinstance(each, dict)]
    return any(
        isinstance(at, int) and at >= token.issued
        for each in found
        if isinstance(each, dict)
        for at in (each.get(token.subject), each.get("*"))
    )


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
    With --reissue, accounts, users, and activation tokens in imports are issued again by another
    key of the same role; what is revoked or has expired is not. Exit 1 if anything becomes invalid.
    Run it again with --reissue to issue the rest later. -K is the key that issues the operator or
    account JWT.
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
