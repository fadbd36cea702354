"""`xkeymsg stream add`: creates a stream for sealed messages; and what other commands share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import click

from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.streams import build_config
from xkeymsg.daemons.common.flags import connection_flags, connection_options
from xkeymsg.daemons.common.parameters import DURATION, SIZE, SUBJECT_PATTERN
from xkeymsg.daemons.common.terminal import say
from xkeymsg.errors import ConfigurationError
from xkeymsg.transport.link import open_link

__all__ = ("REPLICAS", "add", "run_with_api", "stream")

_T = TypeVar("_T")

_LEAST_WINDOW: Final = 20 * 10**9
"""Nanoseconds: publishers retry for 10 s, and the stream must still recognize the message."""

REPLICAS: Final = click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    default=1,
    show_default=True,
    help="Number of replicas in a cluster.",
)


def run_with_api(flags: dict[str, Any], work: Callable[[API], Awaitable[_T]]) -> _T:
    """Connect, and run `work` with the server's JetStream API."""
    options = connection_options("xkeymsg", flags)

    async def connected() -> _T:
        async with open_link(options) as link:
            return await work(API(link))

    return asyncio.run(connected())


@click.group(short_help="Create a stream for sealed messages.")
def stream() -> None:
    """Create a stream for sealed messages; the nats CLI shows, changes and deletes streams."""


@stream.command(short_help="Create a stream for sealed messages.")
@click.argument("name")
@click.option(
    "--subject",
    "subjects",
    type=SUBJECT_PATTERN,
    required=True,
    multiple=True,
    help="A subject that it stores, * and > as in NATS; repeatable.",
)
@click.option(
    "--retention",
    type=click.Choice(["limits", "workqueue", "interest"]),
    default="limits",
    show_default=True,
    help="limits keeps messages; the others delete those that consumers have handled.",
)
@click.option(
    "--max-age", type=DURATION, help="Delete older messages, such as 30d; by default, none."
)
@click.option("--max-bytes", type=SIZE, help="Maximum size, such as 10GiB; unlimited by default.")
@click.option(
    "--discard",
    type=click.Choice(["new", "old"]),
    default="new",
    show_default=True,
    help="At --max-bytes: refuse new messages (the sender keeps them), or delete the oldest.",
)
@click.option(
    "--duplicate-window",
    "window",
    type=DURATION,
    help="How long a resent message is recognized; default: 2m.",
)
@click.option(
    "--storage",
    type=click.Choice(["file", "memory"]),
    default="file",
    show_default=True,
    help="memory is lost when the server restarts.",
)
@REPLICAS
@connection_flags
def add(
    *,
    name: str,
    subjects: tuple[str, ...],
    retention: str,
    max_age: float | None,
    max_bytes: int | None,
    discard: str,
    window: float | None,
    storage: str,
    replicas: int,
    **flags: Any,
) -> None:
    """Create the stream NAME for sealed messages. An existing stream is never changed.

    \b
    xkeymsg stream add ORDERS --subject 'orders.>' --max-age 30d --replicas 3
    xkeymsg stream add JOBS --subject 'jobs.>' --retention workqueue

    Consumers move messages that cannot be opened or handled to two quarantine (dead-letter)
    streams: `xkeymsg quarantine init` creates them.

    Exit 1 if the stream exists, or the server refuses.
    """  # noqa: D301 - click reads the character
    try:
        config = build_config(
            name,
            subjects,
            retention=retention,
            storage=storage,
            discard=discard,
            max_age=max_age,
            max_bytes=max_bytes,
            duplicate_window=window,
            replicas=replicas,
        )
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    if config["duplicate_window"] < _LEAST_WINDOW:
        raise click.UsageError(
            "--duplicate-window, and so --max-age, must be at least 20s: publishers retry for 10s"
        )

    async def work(api: API) -> None:
        if await api.has_stream(name):
            raise ConfigurationError(f"{name} exists and is not changed: nats stream info {name}")
        await api.request(f"STREAM.CREATE.{name}", config)

    run_with_api(flags, work)
    click.echo(f"{name} created")
    hint = "`xkeymsg quarantine init` creates the quarantine streams, unless they exist"
    say("xkeymsg", f"for consumers: {hint}")
