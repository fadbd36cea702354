"""`xkeymsg rotate`: the next key of a user, in a store or for one that cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from xkeymsg.ambient import now_ns
from xkeymsg.cli.directory_source import DirectorySource, opened_directory, reading, source_of
from xkeymsg.cli.trust.flags import when
from xkeymsg.daemons.common.parameters import DURATION
from xkeymsg.daemons.common.terminal import say
from xkeymsg.directory.directory import Directory
from xkeymsg.directory.rotation import OwnKeys, certified_key, new_certificate, shown_keys
from xkeymsg.errors import ConfigurationError, KeyStoreError, TrustError
from xkeymsg.key_stores.opening import list_certificates, list_keys
from xkeymsg.key_stores.ownership import StoreOwnedError
from xkeymsg.key_stores.protocol import WritableProvider
from xkeymsg.key_stores.providers import ask, parse_store
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.nkey import Prefix, Signer
from xkeymsg.text import path_text
from xkeymsg.transport.credentials import read_login
from xkeymsg.trust.claims import Certificate, User
from xkeymsg.trust.creds import parse_creds
from xkeymsg.trust.identity import CertifiedKey
from xkeymsg.trust.stores.file import read_seed, write_seed
from xkeymsg.trust.stores.signers import own_authority

__all__ = ("rotate",)

_WAIT: Final = 60.0
"""Seconds until the directory has to show the certificate."""
_TICK: Final = 0.05


@click.command(short_help="Make and publish the next key of a user.")
@click.option("--store", metavar="STORE", help="The store of its keys, such as file:FOLDER.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the new seed to FILE, for a store that cannot be written.",
)
@click.option("--now", "at_once", is_flag=True, help="The new key is current at once.")
@click.option(
    "--lead",
    type=DURATION,
    default="10m",
    show_default=True,
    help="How long before it is current the new key is published.",
)
@reading
def rotate(
    *,
    folder: Path,
    anchors: tuple[str, ...],
    others: tuple[str, ...],
    store: str | None,
    out: Path | None,
    at_once: bool,
    lead: float,
    **flags: Any,
) -> None:
    """Make the next key of the login's user, certify it with the key in --creds, and publish it.

    \b
    xkeymsg rotate HOSPITAL --anchor O… --creds ward.creds --store file:keys
    xkeymsg rotate HOSPITAL --anchor O… --creds ward.creds --out next.seed --lead 12h

    A running daemon with `rotation = "self"` owns its store: with --now, the command asks it to
    replace the key at once, and waits until it has; without --now, it is refused. A command that
    was interrupted can be repeated: it continues with the unpublished key, or with the one in
    FILE. Give FILE to every daemon of the user before the key is current: a daemon without
    it is not ready.
    """  # noqa: D301 - click reads the character
    if (store is None) == (out is None):
        raise click.UsageError("give either --store or --out")
    place = _Store(store) if store is not None else _SeedFile(out or Path())
    source = source_of(folder, anchors, others, flags)
    if source.options.creds is None:
        raise ConfigurationError("give the login with --creds: its user signs the certificate")
    claims, signer = parse_creds(read_login(source.options.creds))
    user = User.decode(claims.text)
    with ExitStack() as stack:
        try:
            place.lock(stack)
        except StoreOwnedError as error:
            if not at_once:
                why = f"{error}; its daemon rotates by itself, and with --now at once"
                raise KeyStoreError(why) from None
            begun = asyncio.run(_ask(source, place, user))
        else:
            begun = asyncio.run(
                _rotate(source, place, _Signing(user, signer), 0 if at_once else int(lead))
            )
    click.echo(f"{begun.key} current from {when(begun.not_before)}")
    if out is not None:
        is_now = begun.not_before <= now_ns() // 1_000_000_000
        deadline = "now: those without it are not ready" if is_now else "before that"
        say("xkeymsg", f"give {path_text(out)} to every daemon of the user {deadline}")


class _Signing(NamedTuple):
    user: User
    signer: Signer


class _Store:
    """A store that can be written."""

    def __init__(self, text: str) -> None:
        self._text, self._place = text, parse_store(text)
        provider = self._place.provider
        if not isinstance(provider, WritableProvider):
            raise ConfigurationError(f"{self._place.name} cannot be written: use --out")
        self._provider: WritableProvider = provider

    def lock(self, stack: ExitStack) -> None:
        ask(lambda: stack.enter_context(self._provider.lock(self._place.address)))

    def keys(self) -> list[XKey]:
        keys = [each.public() for each in list_keys(self._text)]
        return [XKey.parse(each) for each in keys if each.startswith("X")]

    def certificates(self) -> list[str]:
        return list(list_certificates(self._text).values())

    def ask_owner(self, at: int) -> None:
        ask(self._provider.ask_owner, self._place.address, at)

    def create(self) -> XKey:
        return XKey.parse(
            ask(lambda: self._provider.create(self._place.address, Prefix.CURVE).public())
        )

    def keep(self, key: XKey, certificate: str) -> None:
        ask(self._provider.put_certificate, self._place.address, str(key), certificate)


class _SeedFile:
    """A file for the new seed; its certificate is in the directory only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lock(self, stack: ExitStack) -> None:
        """Do nothing: a file is never overwritten."""

    def ask_owner(self, at: int) -> None:
        """Do nothing: a file has no owner."""

    def keys(self) -> list[XKey]:
        return [read_seed(self._path).public] if self._path.exists() else []

    def certificates(self) -> list[str]:
        return []

    def create(self) -> XKey:
        pair = XKeyPair.generate()
        write_seed(self._path, pair)
        return pair.public

    def keep(self, key: XKey, certificate: str) -> None:
        """Do nothing: an interrupted command signs again."""


async def _rotate(
    source: DirectorySource, place: _Store | _SeedFile, signing: _Signing, lead: int
) -> CertifiedKey:
    """Return the certificate of the next key, when the directory has shown it."""
    async with opened_directory(source) as (trust, following, _):
        now, authority = now_ns() // 1_000_000_000, own_authority(trust.members)
        shown = shown_keys(trust.members, signing.user.claims.subject)
        texts, others = _certificates(place, signing.user)
        limit = now + authority.policy.skew
        known = [certified_key(Certificate.decode(each), authority.accounts) for each in texts]
        known = [each for each in known if each.issued <= limit]  # nobody accepts others
        held = sorted({*place.keys()} - others, key=str)
        own = OwnKeys(held, known, shown, now, authority.accounts)
        waiting = [each for each in own.upcoming if own.is_shown(each) and not each.revoked]
        if waiting and lead:
            return waiting[0]
        unused = [*own.certifiable, *(each.key for each in own.upcoming if not each.revoked)]
        key = unused[0] if unused else place.create()
        in_use = any(e.not_before <= now <= e.not_after and not e.revoked for e in shown)
        text = new_certificate(
            signing.user,
            signing.signer,
            key,
            now + (lead if in_use else 0),
            now=now,
            known=(*known, *shown),
            accounts=authority.accounts,
        )
        place.keep(key, text)
        await following.publish(signing.user.claims.text, [*texts, text])
        wanted = certified_key(Certificate.decode(text))
        why = "the certificate was published, but is not valid: see `xkeymsg directory verify`"

        def is_wanted(each: CertifiedKey) -> bool:
            return each[:2] == wanted[:2] and not each.revoked

        return await _until_shown(following, signing.user, is_wanted, why)


async def _ask(source: DirectorySource, place: _Store | _SeedFile, user: User) -> CertifiedKey:
    """Have the owner replace the current key, and return the certificate of the new one."""
    async with opened_directory(source) as (trust, following, _):
        at = now_ns() // 1_000_000_000 + 1  # later than every key that is current now
        before = shown_keys(trust.members, user.claims.subject)
        skew = own_authority(trust.members).policy.skew

        def is_answer(each: CertifiedKey) -> bool:
            begun = at <= each.not_before <= now_ns() // 1_000_000_000 + skew
            return begun and each not in before and not each.revoked

        texts, others = _certificates(place, user)
        if others and not texts:
            why = "the keys of this store belong to another user: give the --creds of that user"
            raise ConfigurationError(why)
        place.ask_owner(at)
        why = "the owner of the store has not replaced the key: see its log, and its readiness"
        return await _until_shown(following, user, is_answer, why)


async def _until_shown(
    following: Directory, user: User, wanted: Callable[[CertifiedKey], bool], why: str
) -> CertifiedKey:
    """Return the certificate that is wanted, when the directory has shown it."""
    following.look_again()
    try:
        async with asyncio.timeout(_WAIT):
            while True:
                shown = shown_keys(following.trust.members, user.claims.subject)
                if (found := next(filter(wanted, shown), None)) is not None:
                    return found
                await asyncio.sleep(_TICK)
    except TimeoutError:
        raise ConfigurationError(why) from None


def _certificates(place: _Store | _SeedFile, user: User) -> tuple[list[str], set[XKey]]:
    """Return the user's own certificates, and the keys that another user has certified."""
    texts, others = list[str](), set[XKey]()
    for text in place.certificates():
        try:
            found = Certificate.decode(text)
        except TrustError:
            continue
        if (found.account, found.claims.issuer) == (user.account, user.claims.subject):
            texts.append(text)
        else:
            others.add(found.key)
    return texts, others
