"""`xkeymsg decode`: opens envelopes for other programs of this machine."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from xkeymsg.cli.recipients import PEERS, NamedSenders, is_anyone, senders_of
from xkeymsg.daemons.common.flags import key_flags, required_pair
from xkeymsg.daemons.common.listeners import is_local, listening
from xkeymsg.daemons.common.parameters import SUBJECT_PATTERN
from xkeymsg.envelope.admission import ANYONE, Senders
from xkeymsg.keys import Keyring
from xkeymsg.limits import AtRest
from xkeymsg.opener import Opener
from xkeymsg.trust.stores.peers_file import PeersFile

if TYPE_CHECKING:
    from xkeymsg.cli.decoder import Decoder

__all__ = ("decode",)

_ORIGIN: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[a-z0-9][a-z0-9.-]*)(:[0-9]{1,5})?"
)


def _listen(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not is_local(value):
        raise click.BadParameter("expected 127.0.0.1:PORT, [::1]:PORT or unix:/PATH")
    return value


def _origins(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    for each in values:
        if _ORIGIN.fullmatch(each) is None:
            raise click.BadParameter("expected scheme://host[:port], in lower case")
    return values


@click.command(short_help="Open messages for other programs, over HTTP.")
@click.option(
    "--listen",
    required=True,
    metavar="ADDRESS",
    callback=_listen,
    help="127.0.0.1:PORT, [::1]:PORT or unix:/PATH; PORT 0 chooses one.",
)
@click.option(
    "--from",
    "senders",
    metavar="KEY|NAME",
    multiple=True,
    help='The key of an allowed sender, or with --peers a name; repeatable; or "anyone". '
    "By default, all peers on the subjects that the file permits.",
)
@PEERS
@click.option(
    "--subject",
    type=SUBJECT_PATTERN,
    default=">",
    show_default=True,
    help="The subjects that messages may be sealed for.",
)
@key_flags()
@click.option("--user", metavar="U…", help="Your user nkey, if messages are sealed to your user.")
@click.option(
    "--origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    callback=_origins,
    help="An origin whose web pages may send requests, such as http://localhost:31311; repeatable. "
    "Without it, no page may.",
)
def decode(
    *,
    listen: str,
    senders: tuple[str, ...],
    peers_file: Path | None,
    subject: str,
    seed_file: Path | None,
    user: str | None,
    origins: tuple[str, ...],
) -> None:
    """Open messages for other programs on this machine, such as a web UI for NATS.

    \b
    xkeymsg decode --listen 127.0.0.1:8481 --seed bob.seed --peers peers.toml

    It prints its address and a token, which each request must carry. It does not check for replays:
    the same message opens every time. For one message in a file or a pipe, use
    `xkeymsg open`.
    """  # noqa: D301 - click reads the character
    from xkeymsg.cli.decoder import Decoder  # noqa: PLC0415 - an extra, which --help does not need

    peers = None if peers_file is None else PeersFile(peers_file)
    trust = _trust(senders, peers)
    opener = Opener(Keyring(required_pair(seed_file), user=user), trust, replay=AtRest())
    token = secrets.token_urlsafe(32)
    decoder = Decoder(opener, subject=subject, peers=peers, token=token, origins=origins)
    asyncio.run(_serve(decoder, listen, token))


def _trust(senders: tuple[str, ...], peers: PeersFile | None) -> Senders:
    if not senders:
        if peers is None:
            raise click.UsageError("nobody may send: give --peers or --from")
        return peers
    current = None if peers is None else peers.current
    if is_anyone(senders, current):
        return ANYONE
    return NamedSenders(senders_of(senders, current), peers)


async def _serve(decoder: Decoder, listen: str, token: str) -> None:
    """Serve until interrupted."""
    from xkeymsg.cli.decoder import PATH  # noqa: PLC0415 - as above
    from xkeymsg.cli.web.guard import local_hosts  # noqa: PLC0415 - as above
    from xkeymsg.cli.web.server import ended, served  # noqa: PLC0415 - as above

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stopping.set)
    with listening(listen) as (listener, where):
        is_unix = where.startswith("unix:")
        async with served(decoder.guarded(local_hosts(where)), listener) as server:
            click.echo(f"{where}, POST {PATH}" if is_unix else f"http://{where}{PATH}")
            click.echo(f"Authorization: Bearer {token}")
            await ended(server, stopping)
