"""The connection flags of the nats CLI, shared by every program.

A flag overrides its environment variable, which overrides the default. A context's credentials must
never be sent to another server by accident: with `--context`, only other flags are used, and no
environment variables; `NATS_CONTEXT` together with a server or login from elsewhere is an error;
and the context chosen by `nats context select` is used only if no server and no login is given.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from xkeymsg.daemons.common.parameters import DURATION, LOGIN
from xkeymsg.daemons.common.terminal import say
from xkeymsg.errors import ConfigurationError, KeyFormatError, KeyStoreError
from xkeymsg.key_stores.opening import open_key
from xkeymsg.key_stores.protected import release
from xkeymsg.keys import XKeyPair
from xkeymsg.protected_seed import is_protected
from xkeymsg.text import path_text
from xkeymsg.transport.contexts import load_context, selected_context
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import read_private_text, seed_line

__all__ = (
    "StoreChoice",
    "connection_flags",
    "connection_options",
    "given_store",
    "key_flags",
    "load_pair",
    "open_seed_file",
    "own_pair",
    "required_pair",
    "seed_flag",
)


_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)

_FLAGS = (
    click.option(
        "--server",
        "-s",
        "servers",
        envvar="NATS_URL",
        show_envvar=True,
        metavar="URL",
        help="Server URLs, separated by commas (default nats://127.0.0.1:4222).",
    ),
    click.option(
        "--context",
        envvar="NATS_CONTEXT",
        show_envvar=True,
        metavar="NAME",
        help="A context of the nats CLI.",
    ),
    click.option(
        "--creds",
        envvar="NATS_CREDS",
        show_envvar=True,
        type=LOGIN,
        help="A .creds file to log in with; also env://NAME or data:;base64,…",
    ),
    click.option(
        "--nkey",
        envvar="NATS_NKEY",
        show_envvar=True,
        type=LOGIN,
        help="A file with a user's seed SU… to log in with; also env:// or data:.",
    ),
    click.option("--nkey-store", metavar="STORE", help="A key store with that key instead."),
    click.option("--nkey-match-by", metavar="NAME", help="What --nkey-match is, such as Label."),
    click.option("--nkey-match", metavar="TERM", help="Which key of --nkey-store."),
    click.option(
        "--user",
        envvar="NATS_USER",
        show_envvar=True,
        metavar="NAME",
        help="A user name, or a token.",
    ),
    click.option(
        "--password",
        envvar="NATS_PASSWORD",
        show_envvar=True,
        metavar="TEXT",
        help="The user's password.",
    ),
    click.option(
        "--tlscert",
        "tls_cert",
        envvar="NATS_CERT",
        show_envvar=True,
        type=_FILE,
        help="A client certificate.",
    ),
    click.option(
        "--tlskey",
        "tls_key",
        envvar="NATS_KEY",
        show_envvar=True,
        type=_FILE,
        help="Its private key.",
    ),
    click.option(
        "--cert-store", metavar="STORE", help="A key store with both, PEM, instead of files."
    ),
    click.option(
        "--cert-match-by", metavar="NAME", help="Subject (default), Issuer or Thumbprint."
    ),
    click.option("--cert-match", metavar="TERM", help="Which certificate of --cert-store."),
    click.option(
        "--cert-match-skip-invalid", is_flag=True, help="Skip certificates not valid now."
    ),
    click.option(
        "--tlsca",
        "tls_ca",
        envvar="NATS_CA",
        show_envvar=True,
        type=_FILE,
        help="The certificate authorities to trust.",
    ),
    click.option(
        "--tlsfirst", "tls_first", is_flag=True, help="Start TLS before the server's greeting."
    ),
    click.option("--js-domain", "jetstream_domain", metavar="NAME", help="A JetStream domain."),
    click.option(
        "--js-api-prefix",
        "jetstream_api_prefix",
        metavar="SUBJECT",
        help="The subject prefix of an imported JetStream API.",
    ),
    click.option(
        "--timeout",
        envvar="NATS_TIMEOUT",
        show_envvar=True,
        type=DURATION,
        help="Connection timeout (default 5s).",
    ),
)


def connection_flags(command: _Command) -> _Command:
    """Add the flags to a command; pass their values to `connection_options`."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def connection_options(program: str, flags: dict[str, Any]) -> ConnectOptions:
    """Build the connection options from the values of the flags.

    Raises:
        ConfigurationError: If they contradict each other, or the context is unusable.
    """
    given = {name: value for name, value in flags.items() if value not in (None, False)}
    sources = {name: click.get_current_context().get_parameter_source(name) for name in given}
    typed = {name for name, source in sources.items() if source is ParameterSource.COMMANDLINE}
    if "context" in typed:
        # On the command line, it overrides everything in the environment.
        given = {name: value for name, value in given.items() if name in typed | {"timeout"}}
    elif "context" in given and given.keys() & _PLACE:
        raise ConfigurationError("NATS_CONTEXT conflicts with a server or login: use --context")
    context = given.pop("context", None)
    if "servers" in given:
        given["servers"] = tuple(part.strip() for part in given["servers"].split(","))
    if "user" in given and "password" not in given:
        given["token"] = given.pop("user")  # as in the nats CLI
    if context is None and not given.keys() & (_PLACE | {"token"}):
        context = selected_context()
    base = load_context(context) if context else ConnectOptions()
    return base.merged(given | {"name": program})


_PLACE: Final = frozenset({"servers", "creds", "nkey", "nkey_store", "user", "password"})
"""Server and login: they must come from the same source."""

_STORE: Final = "xkeymsg."
_STORE_FLAGS: Final = (
    (
        ("-K", "--key-store"),
        "STORE",
        "Your key in a key store instead, such as systemd:xkey; see `xkeymsg key --help`.",
    ),
    (("--key-match-by",), "NAME", "What --key-match is, such as Label or PublicKey."),
    (("--key-match",), "TERM", "Which key of --key-store (exact match)."),
)


class StoreChoice(NamedTuple):
    """A key store, and which of its keys; the arguments of `open_key`."""

    store: str
    match_by: str | None
    match: str | None


def _remember(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    ctx.meta[f"{_STORE}{parameter.name}"] = value


def key_flags(otherwise: str = "") -> Callable[[_Command], _Command]:
    """Return a decorator that adds `--seed` and `--key-store`; see `own_pair` and `load_pair`.

    Args:
        otherwise: What happens without both, for the help.
    """

    def decorate(command: _Command) -> _Command:
        for names, metavar, text in reversed(_STORE_FLAGS):
            option = click.option(
                *names, metavar=metavar, expose_value=False, callback=_remember, help=text
            )
            command = option(command)
        file = click.option(
            "--seed",
            "seed_file",
            type=_FILE,
            metavar="FILE",
            help=f"A file with your seed SX…, mode 0600.{otherwise}",
        )
        return file(command)

    return decorate


seed_flag = key_flags(" Without it, a temporary key is generated.")


def given_store(seed_file: Path | None) -> StoreChoice | None:
    """Return the values of `--key-store`, `--key-match-by` and `--key-match`.

    Raises:
        click.UsageError: If `--seed` is also given, or a match without a store.
    """
    meta = click.get_current_context().meta
    names = ("key_store", "key_match_by", "key_match")
    store, by, match = (meta.get(f"{_STORE}{each}") for each in names)
    if store is not None and seed_file is not None:
        raise click.UsageError("--seed conflicts with --key-store: use one of them")
    if store is None and (by or match) is not None:
        raise click.UsageError("--key-match requires --key-store")
    return None if store is None else StoreChoice(store, by, match)


def own_pair(seed_file: Path | None) -> XKeyPair | None:
    """Return the key of `--seed` or `--key-store`, if one is given.

    Raises:
        KeyStoreError: If the key cannot be used.
        click.UsageError: If both are given.
    """
    store = given_store(seed_file)
    if store is not None:
        return open_key(store.store, match_by=store.match_by, match=store.match)
    return None if seed_file is None else open_seed_file(seed_file)


def open_seed_file(path: Path) -> XKeyPair:
    """Return the key of a seed file; ask on the terminal for the passphrase of a protected one.

    Raises:
        KeyStoreError: If the key cannot be used.
    """
    text, where = read_private_text(path), path_text(path)  # once: it may be a pipe
    line = seed_line(text, where, "SX…")
    seed = release(text, where) if is_protected(line) else line
    try:
        return XKeyPair.from_seed(seed)
    except KeyFormatError as error:
        raise KeyStoreError(f"{where}: {error}") from None


def required_pair(seed_file: Path | None) -> XKeyPair:
    """Return the key of `--seed` or `--key-store`.

    Raises:
        KeyStoreError: If the key cannot be used.
        click.UsageError: If none or both are given.
    """
    pair = own_pair(seed_file)
    if pair is None:
        raise click.UsageError("Missing option '--seed' or '--key-store'.")
    return pair


def load_pair(program: str, seed_file: Path | None) -> XKeyPair:
    """Return the key of `--seed` or `--key-store`, or generate and announce a key for this run.

    Raises:
        KeyStoreError: If the key cannot be used.
    """
    pair = own_pair(seed_file)
    if pair is None:
        pair = XKeyPair.generate()
        say(program, f"no --seed: generated a temporary key {pair.public}")
    return pair
