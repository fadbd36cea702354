"""`xkeymsg stream add`: creates a stream for sealed messages."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import click

from xkeymsg.client.jetstream.api import API, STREAM_NOT_FOUND, check_name
from xkeymsg.daemons.common.flags import connection_flags, connection_options
from xkeymsg.daemons.common.parameters import DURATION, SIZE, SUBJECT_PATTERN
from xkeymsg.daemons.common.terminal import say
from xkeymsg.envelope.subject import REPLIES
from xkeymsg.errors import ConfigurationError, DeliveryError
from xkeymsg.transport.link import open_link

__all__ = ("add", "stream")

_LEAST_WINDOW: Final = 20.0
"""Seconds: publishers retry for 10 s, and the stream must still recognize the message."""
_WINDOW: Final = 120.0


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
    help="How long a message that is sent again is recognized; default: 2m.",
)
@click.option(
    "--storage",
    type=click.Choice(["file", "memory"]),
    default="file",
    show_default=True,
    help="memory is lost when the server restarts.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    default=1,
    show_default=True,
    help="Number of replicas in a cluster.",
)
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
    if window is None:
        window = _WINDOW if max_age is None else min(_WINDOW, max_age)
    _check(subjects, max_age, window)
    config = {
        "name": check_name("stream", name),
        "subjects": list(subjects),
        "retention": retention,
        "max_age": _nanoseconds(max_age or 0),
        "max_bytes": max_bytes or -1,
        "discard": discard,
        "duplicate_window": _nanoseconds(window),
        "storage": storage,
        "num_replicas": replicas,
        "allow_direct": True,
    }
    options = connection_options("xkeymsg", flags)

    async def connected() -> None:
        async with open_link(options) as link:
            await _create(API(link, timeout=options.timeout), name, config)

    asyncio.run(connected())
    click.echo(f"{name} created")
    hint = "`xkeymsg quarantine init` creates the quarantine streams, unless they exist"
    say("xkeymsg", f"for consumers: {hint}")


def _check(subjects: tuple[str, ...], max_age: float | None, window: float) -> None:
    if any(subject.split(".")[0] == REPLIES for subject in subjects):
        raise click.BadParameter(f"{REPLIES} is reserved for replies", param_hint="--subject")
    if window < _LEAST_WINDOW:
        raise click.UsageError(
            f"--duplicate-window, and so --max-age, must be at least {_LEAST_WINDOW:.0f}s:"
            " publishers retry for 10s"
        )
    if max_age is not None and window > max_age:
        raise click.UsageError("--duplicate-window must not exceed --max-age")


async def _create(api: API, name: str, config: dict[str, Any]) -> None:
    """Create a stream that does not exist.

    Raises:
        ConfigurationError: If it exists.
        DeliveryError: If the server refuses, such as if another stream has these subjects.
    """
    try:
        await api.request(f"STREAM.INFO.{name}")
    except DeliveryError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
    else:
        raise ConfigurationError(f"{name} exists and is not changed: nats stream info {name}")
    await api.request(f"STREAM.CREATE.{name}", config)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1000) * 10**6
