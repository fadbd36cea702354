"""What `xkeymsg` verbs that use the directory read from, and how they open it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from xkeymsg.cli.trust.flags import FOLDER
from xkeymsg.client.jetstream.api import API
from xkeymsg.daemons.common.flags import connection_flags, connection_options
from xkeymsg.directory.directory import Directory
from xkeymsg.directory.reader import BucketReader
from xkeymsg.errors import DeliveryError, XKeyMsgError
from xkeymsg.transport.credentials import read_login
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.claims import User
from xkeymsg.trust.stores.chains import Trust, own_account

__all__ = ("DirectorySource", "opened_directory", "reading", "source_of")

_Command = TypeVar("_Command", bound=Callable[..., Any])
_TICK: Final = 0.02
_LONGEST: Final = 60.0
"""Seconds for reading everything, and for verifying it."""


class DirectorySource(NamedTuple):
    """What a command reads from."""

    folder: Path
    anchors: tuple[str, ...]
    others: tuple[str, ...]
    options: ConnectOptions

    @property
    def accounts(self) -> dict[str, str]:
        """The other accounts, by alias."""
        return dict(each.partition("=")[::2] for each in self.others)

    @property
    def login(self) -> User | None:
        """The user of the login."""
        return None if self.options.creds is None else own_account(read_login(self.options.creds))


def reading(command: _Command) -> _Command:
    """Add the arguments of commands that read the directory."""
    for each in (
        FOLDER,
        click.option(
            "--anchor",
            "anchors",
            required=True,
            multiple=True,
            metavar="KEY",
            help="The operator's identity O…; during a change, both.",
        ),
        click.option(
            "--account",
            "others",
            multiple=True,
            metavar="ALIAS=KEY",
            help="Another account to read; repeatable.",
        ),
        connection_flags,
    ):
        command = each(command)
    return command


def source_of(
    folder: Path, anchors: tuple[str, ...], others: tuple[str, ...], flags: dict[str, Any]
) -> DirectorySource:
    """Return what the arguments of `reading` say."""
    return DirectorySource(folder, anchors, others, connection_options("xkeymsg", flags))


@asynccontextmanager
async def opened_directory(
    source: DirectorySource, *, load: bool = True
) -> AsyncIterator[tuple[Trust, Directory, list[XKeyMsgError]]]:
    """Yield trust and its directory for the duration of a block, and the problems it was told."""
    own = source.login
    trust = Trust.load(
        source.folder,
        anchor=source.anchors,
        account=own and own.account,
        accounts=source.accounts,
    )
    told: list[XKeyMsgError] = []
    following = Directory(trust, wait=0.0)
    try:
        async with (
            open_link(source.options) as link,
            following.following(link, told.append),
        ):
            if load:
                await BucketReader(API(link), frozenset()).last()  # fails at once without a bucket
                await following.loaded(_LONGEST)
                await _verified(following)
            yield trust, following, told
    finally:
        trust.close()


async def _verified(following: Directory) -> None:
    try:
        async with asyncio.timeout(_LONGEST):
            while following.report().unverified:  # noqa: ASYNC110 - threads verify, too
                await asyncio.sleep(_TICK)
    except TimeoutError:
        raise DeliveryError(
            f"the directory is not verified within {_LONGEST:g} s: too many entries or events"
        ) from None
