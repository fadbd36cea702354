"""`xkeymsg trust export`: the configuration of a nats-server in operator mode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from xkeymsg.cli.trust.flags import FOLDER
from xkeymsg.cli.trust.store import AccountFile, TrustStore, now
from xkeymsg.cli.trust.verdicts import Verdicts
from xkeymsg.errors import ConfigurationError

__all__ = ("export",)


@click.command(short_help="Print the configuration for nats-server.")
@FOLDER
@click.option(
    "--resolver",
    type=click.Choice(("memory", "full")),
    default="memory",
    show_default=True,
    help="memory: accounts are those of the file; full: `trust push` changes them.",
)
@click.option(
    "--dir", "directory", default="jwt", show_default=True, help="The server's folder of accounts."
)
@click.option("--system-account", metavar="NAME", help="Default: that of the operator JWT.")
def export(*, folder: Path, resolver: str, directory: str, system_account: str | None) -> None:
    """Print operator and accounts as a part of nats-server's configuration, without secrets.

    \b
    xkeymsg trust export HOSPITAL > operator.conf

    Include it with `include ./operator.conf`. A memory resolver needs a restart for each change; a
    full one keeps the newest JWT of each account, from here or from `trust push`.
    """  # noqa: D301 - click reads the character
    store = TrustStore(folder)
    store.check_accounts()
    verdicts = Verdicts(store, now())
    errors = [str(verdicts.operator_error)] if verdicts.operator_error else []
    errors += [
        f"account {each.name}: {error}"
        for each in store.accounts
        if (error := verdicts.account_error(each)) is not None
    ]
    if errors:
        raise ConfigurationError(f"{store.path}: a server would refuse it: {errors[0]}")
    if not directory.isprintable():
        raise ConfigurationError("--dir: expected the path of a folder")
    system = None if system_account is None else store.account(system_account).key
    streams = any(_has_jetstream(each) for each in store.accounts)
    if not (system or store.operator.claims.nats.get("system_account")) and (
        resolver == "full" or streams
    ):
        raise ConfigurationError(
            f"{'a full resolver' if resolver == 'full' else 'JetStream'} requires a system account:"
            f" run `xkeymsg trust add-account {store.path} SYS --system`"
        )
    for line in _lines(store, resolver, directory, system):
        click.echo(line)


def _has_jetstream(account: AccountFile) -> bool:
    limits = account.account.claims.nats.get("limits", {})
    return bool(limits.get("disk_storage") or limits.get("mem_storage"))


def _lines(store: TrustStore, resolver: str, directory: str, system: str | None) -> Iterator[str]:
    yield f"operator: {json.dumps(store.operator.claims.text)}"
    if system is not None:
        yield f"system_account: {system}"
    if resolver == "full":
        where = json.dumps(directory, ensure_ascii=False)  # servers do not know \\u
        yield f"resolver: {{ type: full, dir: {where}, allow_delete: false }}"
    else:
        yield "resolver: MEMORY"
    yield "resolver_preload: {"
    for each in store.accounts:
        yield f"  {each.key}: {json.dumps(each.account.claims.text)}"
    yield "}"
