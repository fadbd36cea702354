"""`xkeymsg directory`: the bucket, and what it shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from xkeymsg.ambient import now_ns
from xkeymsg.cli.directory_source import (
    DirectorySource,
    opened_directory,
    reading,
    source_of,
)
from xkeymsg.cli.stream import REPLICAS, run_with_api
from xkeymsg.cli.table import aligned, bare
from xkeymsg.cli.trust.flags import when
from xkeymsg.cli.trust.store import TrustStore
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.threads import in_thread
from xkeymsg.daemons.common.flags import connection_flags
from xkeymsg.daemons.common.terminal import EXIT_FAILED, describe, one_line, say
from xkeymsg.directory.bucket import create_bucket
from xkeymsg.directory.directory import Directory
from xkeymsg.directory.entries import certificates_in
from xkeymsg.display import cut
from xkeymsg.errors import (
    ConfigurationError,
    DeliveryError,
    ExpiredClaimError,
    RevokedError,
    XKeyMsgError,
)
from xkeymsg.files import read_text
from xkeymsg.trust.stores.chains import Trust

__all__ = ("directory", "init", "list_", "publish", "verify", "watch")

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_TICK: Final = 0.2
_AFRESH: Final = 50
"""Ticks between two looks at users whose claims may have ended."""
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(short_help="Create, read and check the directory of users.")
def directory() -> None:
    """Create, read and check the directory: JWTs and xkey certificates of users, in a bucket.

    The bucket is untrusted: each JWT and certificate is verified. FOLDER has the operator JWT.
    """


@directory.command(short_help="Create the bucket.")
@REPLICAS
@connection_flags
def init(*, replicas: int, **flags: Any) -> None:
    """Create the bucket XKEYS with safe settings, or check an existing one, which never changes.

    \b
    xkeymsg directory init --creds admin.creds --replicas 3

    Exit 1 if the bucket is not safe, for example if it permits rollups.
    """  # noqa: D301 - click reads the character

    async def make(api: API) -> bool:
        return await create_bucket(api, replicas)

    created = run_with_api(flags, make)
    click.echo(f"XKEYS {'created' if created else 'is there already, and safe'}")


@directory.command(short_help="Publish users, and the account.")
@reading
@click.argument("users", metavar="[USER]…", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every user of the account, and the account.")
@click.option(
    "--certificates",
    type=_FILE,
    metavar="FILE",
    help="The certificates of the login's user; default: those in FOLDER.",
)
def publish(
    *,
    folder: Path,
    anchors: tuple[str, ...],
    others: tuple[str, ...],
    users: tuple[str, ...],
    every: bool,
    certificates: Path | None,
    **flags: Any,
) -> None:
    """Publish the entry of the login's user, of each USER in FOLDER, or of all users.

    \b
    xkeymsg directory publish HOSPITAL --anchor O… --creds alice.creds
    xkeymsg directory publish HOSPITAL --all --anchor O… --creds admin.creds

    Valid JWTs and certificates of an existing entry are kept. Bearer JWTs are refused.
    """  # noqa: D301 - click reads the character
    source = source_of(folder, anchors, others, flags)
    entries = list(_entries(source, users, certificates, every=every))

    async def work() -> None:
        async with opened_directory(source, load=False) as (_, following, _):
            if every:
                click.echo(f"account revision {await following.publish_account()}")
            for name, jwt, certified in entries:
                revision = await following.publish(jwt, certified)
                click.echo(f"{bare(name)} revision {revision}")

    asyncio.run(work())


def _entries(
    source: DirectorySource, users: tuple[str, ...], certificates: Path | None, *, every: bool
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the name, JWT and certificates of each user to publish."""
    store, own = TrustStore(source.folder), source.login
    if own is None:
        raise ConfigurationError("give the login with --creds: it names the account")
    account = store.account(own.account)
    if not users and not every:
        found = [
            each for each in store.users(account) if each.user.claims.subject == own.claims.subject
        ]
        user = found[0].user if found else own
        if own.claims.issued > user.claims.issued:
            user = own
        path = certificates or (found[0].path.with_suffix(".xkeys") if found else None)
        yield user.claims.name or user.claims.subject, *_texts(user.claims.text, path)
        return
    chosen = list(store.users(account)) if every else [store.user(account, u) for u in users]
    for path, user in chosen:
        name = user.claims.name or user.claims.subject
        text = read_text(path, ConfigurationError).strip()
        yield name, *_texts(text, path.with_suffix(".xkeys"))


def _texts(jwt: str, path: Path | None) -> tuple[str, list[str]]:
    if path is None or not path.exists():
        return jwt, []
    return jwt, list(certificates_in(read_text(path, ConfigurationError)))


@directory.command("list", short_help="List the users in the directory.")
@_JSON
@reading
def list_(
    *, folder: Path, anchors: tuple[str, ...], others: tuple[str, ...], as_json: bool, **flags: Any
) -> None:
    """List the valid users that the directory and FOLDER show, with their xkeys.

    \b
    xkeymsg directory list HOSPITAL --anchor O… --creds alice.creds
    """  # noqa: D301 - click reads the character
    rows = asyncio.run(_with(source_of(folder, anchors, others, flags), _rows))
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = [
        (
            bare(row["name"] or "-"),
            row["user"],
            bare(",".join(row["permissions"]) or "-"),
            row["xkey"] or "-",
            when(row["until"]) if row["until"] else "-",
        )
        for row in rows
    ]
    for line in aligned([("NAME", "USER", "PERMISSIONS", "XKEY", "UNTIL"), *table]):
        click.echo(line)


_Work = Callable[[Trust, Directory, list[XKeyMsgError]], Awaitable[Any]]


async def _with(source: DirectorySource, work: _Work) -> Any:
    async with opened_directory(source) as opened:
        return await work(*opened)


async def _rows(trust: Trust, _directory: Directory, _told: object) -> list[dict[str, Any]]:
    now = now_ns() // 1_000_000_000
    rows = []
    for (alias, user), identity in sorted(trust.members.identities.items()):
        if identity.valid_until < now:
            continue
        try:
            current = identity.current(now)
        except XKeyMsgError:
            current = None
        rows.append(
            {
                "name": f"{alias}/{identity.name}" if alias else identity.name,
                "user": user,
                "permissions": sorted(identity.permissions),
                "xkey": str(current.key) if current else None,
                "until": current.not_after if current else None,
            }
        )
    return rows


@directory.command(short_help="Print changes of the directory.")
@reading
def watch(*, folder: Path, anchors: tuple[str, ...], others: tuple[str, ...], **flags: Any) -> None:
    """Print a line for each user that joins, leaves or changes, and for each alarm, until Ctrl-C.

    \b
    xkeymsg directory watch HOSPITAL --anchor O… --creds alice.creds
    """  # noqa: D301 - click reads the character

    async def follow(trust: Trust, following: Directory, told: list[XKeyMsgError]) -> None:
        before: dict[tuple[str, str], dict[str, Any]] = {}
        alarms: set[str] = set()
        generation = -1
        for tick in count():
            if not tick % _AFRESH:
                await _reload(trust, told)
            if generation != trust.generation or not tick % _AFRESH:
                generation = trust.generation
                rows = await _rows(trust, following, told)
                # Another account can issue a JWT for the same user key.
                after = {(row["user"], row["name"].rpartition("/")[0]): row for row in rows}
                for at in sorted({*before, *after}):
                    if before.get(at) != after.get(at):
                        verb = "left" if at not in after else "changed"
                        verb = "is" if at not in before else verb
                        row = after.get(at) or before[at]
                        name, xkey = bare(row["name"] or "-"), row["xkey"] or "-"
                        click.echo(f"{name} {row['user']} {verb} {xkey}")
                before = after
            texts = {describe(each) for each in following.report().alarms}
            for text in sorted(texts - alarms | {describe(each) for each in told}):
                say("xkeymsg", one_line(text))
            alarms = texts
            told.clear()
            await asyncio.sleep(_TICK)

    asyncio.run(_with(source_of(folder, anchors, others, flags), follow))


async def _reload(trust: Trust, told: list[XKeyMsgError]) -> None:
    try:
        await in_thread(trust.reload)
    except XKeyMsgError as error:
        told.append(error)


@directory.command(short_help="Check the bucket and its entries.")
@_JSON
@reading
def verify(
    *, folder: Path, anchors: tuple[str, ...], others: tuple[str, ...], as_json: bool, **flags: Any
) -> int:
    """Check the settings of the bucket, and every entry of the configured accounts.

    \b
    xkeymsg directory verify HOSPITAL --anchor O… --creds alice.creds

    Exit 1 if the bucket is not safe, or an entry is damaged, older or not valid. Revoked and
    expired users are listed; they are not errors. The settings of the bucket cannot be
    checked from another account.
    """  # noqa: D301 - click reads the character
    source = source_of(folder, anchors, others, flags)

    async def check(trust: Trust, following: Directory, told: list[XKeyMsgError]) -> dict[str, Any]:
        report = following.report()
        others = [each for each in told if not isinstance(each, DeliveryError)]
        faults = [describe(each) for each in (*report.alarms, *others)]
        for each in told:
            if each not in others:  # what we may not ask for is not a fault of the directory
                say("xkeymsg", one_line(describe(each)))
        for refusal in trust.members.refused.values():
            if isinstance(refusal, (RevokedError, ExpiredClaimError)):  # nor is a user who left
                say("xkeymsg", one_line(describe(refusal)))
        return {
            "revision": report.revision,
            "bucket_checked": report.is_checked,
            "entries": report.entries,
            "users": len(trust.members.identities),
            "ignored": dict(report.ignored),
            "faults": faults,
        }

    found = asyncio.run(_with(source, check))
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for fault in found["faults"]:
            say("xkeymsg", one_line(cut(fault, 400)))
        click.echo(
            f"revision {found['revision']}: {found['entries']} entries, {found['users']} valid"
            f" users, {len(found['faults'])} faults"
            + ("" if found["bucket_checked"] else "; settings of the bucket not checked")
        )
    return EXIT_FAILED if found["faults"] else 0
