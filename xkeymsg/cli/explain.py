"""`xkeymsg explain`: why a message can be opened, or not, and what each rule says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from xkeymsg.ambient import now_ns
from xkeymsg.cli.directory_source import DirectorySource, opened_directory, source_of
from xkeymsg.cli.inspect import describe_envelope, print_fields
from xkeymsg.cli.recipients import PEERS
from xkeymsg.cli.trust.flags import when
from xkeymsg.daemons.common.flags import connection_flags, key_flags
from xkeymsg.daemons.common.flags import given_store as chosen_store
from xkeymsg.daemons.common.parameters import SUBJECT
from xkeymsg.daemons.common.terminal import EXIT_FAILED, describe, one_line, quote
from xkeymsg.envelope.admission import ANYONE, Admission
from xkeymsg.envelope.inspect import Inspection
from xkeymsg.envelope.inspect import inspect as inspect_envelope
from xkeymsg.errors import ContentTypeError, SenderRevokedError, TrustError, XKeyMsgError
from xkeymsg.key_stores.opening import list_keys, open_key
from xkeymsg.key_stores.store_keys import StoreKeyPair
from xkeymsg.keys import Keyring, XKeyPair, decode_user
from xkeymsg.limits import AtRest, Limits
from xkeymsg.opener import Opener
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.stores.chains import Trust
from xkeymsg.trust.stores.file import read_seed

__all__ = ("explain",)


@click.command(short_help="Explain why a message can be opened, or not.")
@click.argument("message", metavar="FILE", default="-", type=click.File("rb"))
@click.option("--subject", type=SUBJECT, help="The subject that the receiver accepts.")
@click.option("--identity", "user", metavar="U…", help="Your user key; default: that of --creds.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The operator's folder of trust; with --creds, the directory is also read.",
)
@click.option(
    "--anchor", "anchors", multiple=True, metavar="KEY", help="With --folder: the operator's O…."
)
@click.option(
    "--account",
    "others",
    multiple=True,
    metavar="ALIAS=KEY",
    help="With --folder: another account to read.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@PEERS
@key_flags(" Without one, what an outsider can see.")
@connection_flags
def explain(
    *,
    message: BinaryIO,
    subject: str | None,
    user: str | None,
    folder: Path | None,
    anchors: tuple[str, ...],
    others: tuple[str, ...],
    as_json: bool,
    peers_file: Path | None,
    seed_file: Path | None,
    **flags: Any,
) -> int:
    """Explain why FILE, or stdin, can or cannot be opened: keys, sender, subject, time.

    \b
    xkeymsg explain --seed ward.seed --peers peers.toml report.sealed
    xkeymsg explain -K file:keys --folder HOSPITAL --anchor O… --creds ward.creds lost.sealed

    Without a key it prints what anyone can see. No content is printed. Exit 1 if a
    receiver with these keys, and this trust, would refuse the message.
    """  # noqa: D301 - click reads the character
    sealed = message.read()
    if sealed[:4] == b"xkv1":
        raise click.UsageError("xkv1 says nothing about its sender or time: use xkm1")
    if folder is not None and (not anchors or peers_file is not None):
        raise click.UsageError("--folder requires --anchor, and excludes --peers")
    source = None
    if folder is not None:
        source = source_of(folder, anchors, others, flags)
        user = user or (source.login.claims.subject if source.login else None)
    pairs = _pairs(seed_file)
    found = asyncio.run(_explain(sealed, pairs, user, subject, peers_file, source))
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_fields(found)
    return 0 if found["verdict"].startswith(("opens", "unknown")) else EXIT_FAILED


def _pairs(seed_file: Path | None) -> list[XKeyPair]:
    """Return all keys of a store, or the one that the flags choose."""
    store = chosen_store(seed_file)
    if store is None:
        return [] if seed_file is None else [read_seed(seed_file)]
    if store.match is not None:
        return [open_key(store.store, match_by=store.match_by, match=store.match)]
    return [StoreKeyPair(each) for each in list_keys(store.store) if each.public()[0] == "X"]


async def _explain(
    sealed: bytes,
    pairs: list[XKeyPair],
    user: str | None,
    subject: str | None,
    peers_file: Path | None,
    source: DirectorySource | None,
) -> dict[str, Any]:
    seen = inspect_envelope(sealed)
    found = {"message": describe_envelope(sealed)["message id"]}
    faults: list[str] = []
    found |= dict(_keys(sealed, seen, pairs, user, faults))
    if subject is not None and subject != seen.subject:
        faults.append("it was sealed for another subject")
    found["subject"] = quote(seen.subject)[1:-1]
    found["time"] = _time(seen, faults)
    if source is None:
        trust = None if peers_file is None else Peers.load(peers_file)
        found["sender"] = list(_sender(seen, trust, faults))
    elif source.options.creds is None:
        chains = Trust.load(source.folder, anchor=source.anchors, accounts=source.accounts)
        found["sender"] = list(_sender(seen, chains, faults))
    else:
        async with opened_directory(source) as (chains, _, _):
            found["sender"] = list(_sender(seen, chains, faults))
            sent = "not stated" if seen.revision is None else seen.revision
            found["revision"] = f"{sent}; the directory has {chains.revision}"
    verdict = "refused: " + "; ".join(faults) if faults else "opens with these keys"
    found["verdict"] = verdict if faults or pairs else "unknown: give a key"
    return found


def _keys(
    sealed: bytes, seen: Inspection, pairs: list[XKeyPair], user: str | None, faults: list[str]
) -> Iterator[tuple[str, Any]]:
    """Yield what each key can do."""
    yield "recipients", f"{len(seen.tags)}; a tag tells nobody but its recipient who that is"
    tried = [(str(pair.public), _open(sealed, seen, pair, user)) for pair in pairs]
    if tried:
        yield "keys", [f"{key}: {why or 'opens it'}" for key, why in tried]
        if all(why for _, why in tried):
            faults.append(f"no key opens it ({len(tried)} tried)")


def _open(sealed: bytes, seen: Inspection, pair: XKeyPair, user: str | None) -> str:
    """Return why a key does not open a message; empty if it does, whoever has sent it."""
    opener = Opener(Keyring(pair, user=user), ANYONE, replay=AtRest())
    try:
        try:
            opener.open(sealed, subject=seen.subject)
        except ContentTypeError:
            opener.open_document(sealed, subject=seen.subject)
    except XKeyMsgError as error:
        return one_line(describe(error))
    return ""


def _time(seen: Inspection, faults: list[str]) -> str:
    """Return what the clock says."""
    now = datetime.fromtimestamp(now_ns() / 1e9, UTC)
    age = (now - seen.created).total_seconds()
    said = f"sealed {seen.created.isoformat()}, {abs(age):.0f} s " + (
        "ago" if age >= 0 else "in the future"
    )
    if age < -Limits().skew:
        faults.append("it was sealed in the future: one of the clocks is wrong")
    if seen.expires is not None and seen.expires <= now:
        faults.append(f"it has expired {seen.expires.isoformat()}")
    if age > Limits().max_age:
        said += f"; older than max_age ({Limits().max_age:g} s): outside of a stream, `stale`"
    return said + "; a receiver that has handled it refuses it again"


def _sender(seen: Inspection, trust: Peers | Trust | None, faults: list[str]) -> Iterator[str]:
    """Yield the standing of the sender, at the time of the message and now."""
    yield f"{seen.sender} names {f'the user {seen.identity}' if seen.identity else 'no user'}"
    if trust is None:
        return
    now = now_ns() // 1_000_000_000
    verdict = _refusal(trust, seen, int(seen.created.timestamp() * 1000))
    if verdict:
        faults.append(verdict)
    yield f"at its time: {verdict or 'admitted'}"
    if isinstance(trust, Trust):
        for identity in trust.members.found(seen.sender):
            yield from _standing(identity, seen, now)
        for (_, user), refusal in trust.members.refused.items():
            if user == seen.identity:
                yield f"{user}: {one_line(describe(refusal))}"
        yield f"now: {_refusal(trust, seen, now * 1000) or 'admitted'}"


def _refusal(trust: Peers | Trust, seen: Inspection, at: int) -> str:
    """Return why the sender is not admitted at a time in milliseconds; empty if it is."""
    try:
        return _verdict(trust.admit(seen.sender, seen.subject, at), seen)
    except SenderRevokedError as error:
        named = None if seen.identity is None else decode_user(seen.identity)
        if error.users and named not in error.users:  # anyone can certify the key, and be revoked
            return _verdict(None, seen)
        return one_line(describe(error))
    except XKeyMsgError as error:
        return one_line(describe(error))


def _verdict(admission: Admission | None, seen: Inspection) -> str:
    if admission is None:
        return "the sender may not send on this subject, or is unknown"
    named = None if seen.identity is None else decode_user(seen.identity)
    if admission.users and named not in admission.users and not seen.signed:
        if named is None:
            return "the message names no user: its sender must seal as one"
        return "the sender's key does not belong to the user that the message names"
    if admission.always_signs and not seen.signed:
        return "the sender's messages must be signed"
    return ""


def _standing(identity: Identity, seen: Inspection, now: int) -> Iterator[str]:
    at, name = int(seen.created.timestamp()), identity.name or identity.user
    if not identity.may_send(seen.subject):
        yield f"{name}: may not publish on this subject"
    for known in (each for each in identity.keys if each.key == seen.sender):
        states = [
            "revoked" if known.revoked else "",
            "not valid yet at its time" if at < known.not_before else "",
            "ended before its time" if at > known.not_after else "",
        ]
        life = f"{when(known.not_before)} to {when(known.not_after)}"
        yield f"{name}: certificate {life} {', '.join(filter(None, states)) or 'valid'}"
    try:
        current = identity.current(now).key == seen.sender
        yield f"{name}: the key is {'current' if current else 'retired'}"
    except TrustError as error:
        yield f"{name}: {one_line(describe(error))}"
