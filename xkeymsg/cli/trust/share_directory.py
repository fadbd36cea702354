"""`xkeymsg trust share-directory`: exports and imports, so that accounts can use one directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click

from xkeymsg.cli.trust.flags import FOLDER, KEY, KEYS
from xkeymsg.cli.trust.issuance import account_signer, reissue_account
from xkeymsg.cli.trust.store import AccountFile, Change, TrustStore, editing
from xkeymsg.errors import ConfigurationError
from xkeymsg.nkey import SigningKey

__all__ = ("share_directory",)

_READ: Final = "$JS.API.DIRECT.GET.KV_XKEYS"
_EVENTS: Final = "_XKM.DIR.>"
_INFO: Final = "$SYS.REQ.ACCOUNT.*.*"
_SYSTEM_EXPORT: Final = {
    "name": "account-monitoring-services", "subject": _INFO, "type": "service",
    "response_type": "Stream", "account_token_position": 4,
}  # fmt: skip
_EXPORTS: Final = (
    {"name": "directory", "subject": _READ, "type": "service", "response_type": "Stream"},
    {"name": "directory-events", "subject": _EVENTS, "type": "stream"},
    {"name": "directory-entries", "subject": "$KV.XKEYS.*.*", "type": "service",
     "response_type": "Singleton", "account_token_position": 3},
)  # fmt: skip


@click.command("share-directory", short_help="Let accounts use a directory.")
@FOLDER
@click.argument("account")
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="ACCOUNT",
    help="Another account that may use it; repeatable.",
)
@KEYS
@KEY
def share_directory(
    *, folder: Path, account: str, others: tuple[str, ...], keys: Path | None, key: str | None
) -> None:
    """Let ACCOUNT, which has the bucket, and other accounts use the directory.

    \b
    xkeymsg trust share-directory HOSPITAL CLINIC --with INSURER

    ACCOUNT exports reading, events and writing. The others import them; each can write entries of
    its own users only, and needs no JetStream. All of them import their own JWT from the system
    account, so that revocations reach them by `trust push` alone. Existing exports and imports are
    kept.
    """  # noqa: D301 - click reads the character
    with editing(folder, keys) as (store, change):
        signer = account_signer(store, key)
        owner, users = store.account(account), [store.account(each) for each in others]
        if owner in users:
            raise ConfigurationError(f"{owner.name} has the bucket: --with is for others")
        system = store.operator.claims.nats.get("system_account")
        reported = next((each for each in store.accounts if each.key == system), None)
        if reported is not None:
            _extend(store, change, signer, reported, exports=[_SYSTEM_EXPORT])
        exports = _EXPORTS if users else ()
        _extend(store, change, signer, owner, exports=exports, imports=_own(reported, owner))
        for each in users:
            imports = [*_imports(owner, each), *_own(reported, each)]
            _extend(store, change, signer, each, imports=imports)
    for named in (*([reported] if reported else ()), owner, *users):
        click.echo(f"{named.name} {named.key}")


def _own(system: AccountFile | None, account: AccountFile) -> list[dict[str, Any]]:
    if system is None:
        return []
    subject = f"$SYS.REQ.ACCOUNT.{account.key}.INFO"
    return [_import("own-account", subject, system, "service")]


def _imports(owner: AccountFile, account: AccountFile) -> list[dict[str, Any]]:
    return [
        _import("directory", _READ, owner, "service"),
        _import("directory-events", _EVENTS, owner, "stream"),
        _import("directory-entries", f"$KV.XKEYS.{account.key}.*", owner, "service"),
    ]


def _import(name: str, subject: str, of: AccountFile, kind: str) -> dict[str, Any]:
    return {"name": name, "subject": subject, "account": of.key, "type": kind}


def _extend(
    store: TrustStore,
    change: Change,
    signer: SigningKey,
    account: AccountFile,
    **more: Iterable[dict[str, Any]],
) -> None:
    """Issue an account again with more exports or imports, if any is missing."""
    nats = account.account.claims.nats
    changed: dict[str, Any] = {}
    for name, wanted in more.items():
        listed = nats.get(name) or []
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise ConfigurationError(
                f"{account.path}: `{name}` is not a list of objects: issue the account again"
            )
        there = [(each.get("subject"), each.get("account")) for each in listed]
        new = [each for each in wanted if (each["subject"], each.get("account")) not in there]
        if new:
            changed[name] = [*listed, *new]
    if changed:
        change.update(account.path, reissue_account(store, account, signer, **changed))
