"""`xkeymsg key`: keys in key stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from xkeymsg.cli.table import aligned
from xkeymsg.daemons.common.terminal import one_line
from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.command import CommandProvider
from xkeymsg.key_stores.opening import describe, find_key, list_keys
from xkeymsg.key_stores.passphrases import TERMINAL
from xkeymsg.key_stores.protected import change_passphrase
from xkeymsg.key_stores.protocol import StoredKey, WritableProvider
from xkeymsg.key_stores.providers import Store, ask, parse_store
from xkeymsg.key_stores.released_key import single_seed
from xkeymsg.key_stores.store_keys import StoreKeyPair, StoreSigner
from xkeymsg.keys import XKey
from xkeymsg.nkey import Prefix, is_public
from xkeymsg.trust.stores.file import read_private

__all__ = ("key",)

_Command = TypeVar("_Command", bound=Callable[..., Any])

_STORE: Final = click.option(
    "-K",
    "--store",
    required=True,
    metavar="STORE",
    help="PROVIDER:ADDRESS, such as file:own.seed or systemd:xkey; see `xkeymsg key --help`.",
)
_WHICH: Final = (
    click.option(
        "--match-by",
        metavar="NAME",
        help="The property that --match gives, such as Label or PublicKey.",
    ),
    click.option("--match", metavar="TERM", help="The exact value of that property."),
)


def _which(command: _Command) -> _Command:
    for option in reversed(_WHICH):
        command = option(command)
    return command


@click.group(short_help="Maintain keys in key stores.")
def key() -> None:
    """List, check, generate, import and delete keys in key stores: files, tokens, and others.

    A store is written PROVIDER:ADDRESS:

    \b
    file:PATH               a seed file, or a folder of them
    systemd:NAME            a credential of LoadCredential= or LoadCredentialEncrypted=
    command:PROGRAM ARG...  what a program prints, such as a password manager
    descriptor:N            an open file descriptor
    environment:NAME        an environment variable
    protected:…             a seed file with a passphrase; see key passphrase
    pkcs11:…                a key on a token, as a PKCS#11 URI (RFC 7512)
    """  # noqa: D301 - click reads the character


@key.command("list")
@_STORE
def _list(store: str) -> None:
    """List the public keys in a store, and their names for --match-by.

    \b
    xkeymsg key list --store 'pkcs11:token=xk?pin-source=file:/etc/xkeymsg/pin'
    """  # noqa: D301 - click reads the character
    for line in aligned([_row(each) for each in list_keys(store)]):
        click.echo(one_line(line))


def _row(stored: StoredKey) -> list[str]:
    names = ask(lambda: dict(stored.names))
    return [stored.public(), *(f"{name}={value}" for name, value in names.items())]


@key.command("show")
@_STORE
@_which
@click.option("--try-pin", is_flag=True, help="Try the PIN although a wrong one was entered.")
@click.option("--debug-store", is_flag=True, help="Show what a command writes to stderr.")
def _show(
    *, store: str, match_by: str | None, match: str | None, try_pin: bool, debug_store: bool
) -> None:
    """Check that a key can be used, and describe it.

    \b
    xkeymsg key show --store systemd:xkey

    After one wrong PIN, no program sends the token another: a few more would lock it. Correct
    the PIN, then use --try-pin once.
    """  # noqa: D301 - click reads the character
    place = _provided(parse_store(store), try_pin=try_pin, debug_store=debug_store)
    _describe(find_key(place, match_by=match_by, match=match))


def _provided(place: Store, *, try_pin: bool, debug_store: bool) -> Store:
    if debug_store and isinstance(place.provider, CommandProvider):
        return place._replace(provider=CommandProvider(show_stderr=True))
    if try_pin and place.name == "pkcs11":
        from xkeymsg.key_stores.pkcs11 import Pkcs11Provider  # noqa: PLC0415 - imports an extra

        return place._replace(provider=Pkcs11Provider(try_pin=True))
    return place


def _describe(stored: StoredKey) -> None:
    public = stored.public()
    click.echo(public)
    if public.startswith("X"):
        StoreKeyPair(stored)  # checks that it can be used
        click.echo(f"fingerprint {XKey.parse(public).fingerprint}")
    else:
        StoreSigner(stored)
    for fact in describe(stored):
        click.echo(one_line(fact))


@key.command("generate", short_help="Generate a key in a store.")
@_STORE
@click.option("--user", is_flag=True, help="Generate a user key, which signs.")
def _generate(*, store: str, user: bool) -> None:
    """Generate a key in a store, and print its public key.

    \b
    xkeymsg key generate --store file:own.seed

    Existing keys are never replaced. On a token, the key is generated there and never leaves it.
    """  # noqa: D301 - click reads the character
    with _owned(store) as (provider, address):
        kind = Prefix.USER if user else Prefix.CURVE
        click.echo(ask(lambda: provider.create(address, kind).public()))


@key.command("import", short_help="Import a seed into a store.")
@_STORE
@click.argument("seed_file", type=click.Path(path_type=Path, allow_dash=True))
def _import(*, store: str, seed_file: Path) -> None:
    """Import the seed SX… or SU… of SEED_FILE into a store, and print its public key.

    \b
    xkeymsg key import --store 'pkcs11:token=xk;object=own?pin-source=file:/etc/pin' own.seed

    Delete the file afterwards: a token protects a seed only if there is no other copy.
    """  # noqa: D301 - click reads the character
    content = read_private(Path("/dev/stdin") if str(seed_file) == "-" else seed_file)
    with _owned(store) as (provider, address):
        seed = single_seed(content)
        click.echo(ask(lambda: provider.put(address, seed).public()))


@key.command("delete", short_help="Delete a key from a store.")
@_STORE
@click.argument("public_key")
def _delete(*, store: str, public_key: str) -> None:
    """Delete the key PUBLIC_KEY from a store, and its certificate.

    \b
    xkeymsg key delete --store file:keys XDQH2AGJQ3WHEZOOUCJLV3IHJXGLZ4RPYGSEQEVDUTOGMCLWBWX4MPOP

    Messages that are sealed to it can never be opened again, unless there is a copy of the key.
    """  # noqa: D301 - click reads the character
    if not is_public(public_key):
        raise KeyStoreError("expected the public key X… or U… of the key to delete")
    with _owned(store) as (provider, address):
        ask(provider.delete, address, public_key)
    click.echo(f"deleted {public_key}")


@key.command("passphrase", short_help="Protect a seed file with a passphrase.")
@click.argument("seed_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--remove", is_flag=True, help="Remove the passphrase.")
@click.option("--old", metavar="STORE", default=TERMINAL, help="Where the current passphrase is.")
@click.option("--new", metavar="STORE", help="Where the new passphrase is.")
def _passphrase(*, seed_file: Path, remove: bool, old: str, new: str | None) -> None:
    """Protect SEED_FILE with a passphrase, or change its passphrase, or remove it.

    \b
    xkeymsg key passphrase own.seed
    xkeymsg key passphrase own.seed --new systemd:passphrase
    xkeymsg key passphrase own.seed --remove

    Passphrases are typed, or read from file:, systemd:, descriptor: or command:. The file is
    replaced; the disk, and backups, may keep the unprotected one.
    """  # noqa: D301 - click reads the character
    if remove and new is not None:
        raise click.UsageError("--remove conflicts with --new: use one of them")
    click.echo(change_passphrase(seed_file, old, None if remove else new or TERMINAL))


@contextmanager
def _owned(store: str) -> Iterator[tuple[WritableProvider, str]]:
    """Lock a store that can be written, so that no daemon changes it meanwhile."""
    place = parse_store(store)
    if not isinstance(place.provider, WritableProvider):
        raise KeyStoreError(
            f"the key store {place.name} cannot be written: use file, protected or pkcs11"
        )
    provider = place.provider
    with ExitStack() as stack:
        ask(lambda: stack.enter_context(provider.lock(place.address)))
        yield provider, place.address
