"""`xkeymsg doctor`: reports problems and their remedies."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

import click

from xkeymsg.cli.doctor.daemon import check_daemon
from xkeymsg.cli.doctor.files import check_certificate, check_files
from xkeymsg.cli.doctor.findings import CheckResult
from xkeymsg.cli.doctor.server import check_server
from xkeymsg.cli.table import aligned
from xkeymsg.daemons.common.command import core_in_use
from xkeymsg.daemons.common.flags import (
    connection_flags,
    connection_options,
    given_store,
    key_flags,
)
from xkeymsg.daemons.common.parameters import SUBJECT_PATTERN
from xkeymsg.daemons.common.terminal import EXIT_FAILED, one_line

__all__ = ("doctor",)

_FILE: Final = click.Path(path_type=Path, dir_okay=False)


class _Stream(click.ParamType[str]):
    """A stream name, which becomes a token of a subject."""

    name = "stream"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", value):
            self.fail(f"invalid stream name {value!r}: use letters, digits, _ and -", param, ctx)
        return value


class _Durable(click.ParamType[tuple[str, str]]):
    """The names of a stream and one of its consumers."""

    name = "durable"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        match = re.fullmatch(r"([A-Za-z0-9_-]{1,255})/([A-Za-z0-9_-]{1,255})", value)
        if match is None:
            self.fail(f"{value!r} is not STREAM/DURABLE: use letters, digits, _ and -", param, ctx)
        return match[1], match[2]


@click.command(short_help="Check key, peers, connection, permissions.")
@key_flags()
@click.option("--peers", "peers_file", type=_FILE, metavar="TOML", help="Your peers file.")
@click.option(
    "--publish",
    type=SUBJECT_PATTERN,
    multiple=True,
    help="A subject this login must be able to publish on; repeatable.",
)
@click.option(
    "--subscribe",
    type=SUBJECT_PATTERN,
    multiple=True,
    help="A subject this login must be able to subscribe to; repeatable.",
)
@click.option("--probe", is_flag=True, help="Test --publish by publishing an empty message.")
@click.option("--jetstream", is_flag=True, help="Require JetStream and the quarantine streams.")
@click.option(
    "--unproven",
    type=_Stream(),
    default="XKM_UNPROVEN",
    show_default=True,
    help="The quarantine stream of unauthenticated messages.",
)
@click.option(
    "--proven",
    type=_Stream(),
    default="XKM_PROVEN",
    show_default=True,
    help="The quarantine stream of authenticated messages.",
)
@click.option(
    "--durable",
    "durables",
    type=_Durable(),
    multiple=True,
    metavar="STREAM/DURABLE",
    help="A durable shared by receivers; repeatable.",
)
@click.option(
    "--daemon",
    "daemons",
    multiple=True,
    metavar="ADDRESS",
    help="The observe.listen of a running daemon; repeatable.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array with one object per finding."
)
@connection_flags
def doctor(
    *,
    seed_file: Path | None,
    peers_file: Path | None,
    publish: tuple[str, ...],
    subscribe: tuple[str, ...],
    probe: bool,
    jetstream: bool,
    unproven: str,
    proven: str,
    durables: tuple[tuple[str, str], ...],
    daemons: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> int:
    """Check the key, the peers file, the connection, the permissions of this login, and daemons.

    Each line is ok, or says what to do. Nothing is changed on the server, and nothing is published
    without --probe. Exit 1 if any check fails.
    """
    options = connection_options("xkeymsg", flags)
    findings, user = check_files(
        seed_file, peers_file, publish, options.timeout, store=given_store(seed_file)
    )
    findings.insert(0, CheckResult("core", "ok", core_in_use()))
    findings += check_certificate(options)
    findings += asyncio.run(
        check_server(
            options,
            publish=publish,
            subscribe=subscribe,
            streams={unproven: False, proven: True},
            durables=durables,
            jetstream=jetstream,
            probe=probe,
            user=user,
        )
    )
    findings += [found for each in daemons for found in check_daemon(each, options.timeout)]
    _print(findings, as_json=as_json)
    return EXIT_FAILED if any(each.level == "fail" for each in findings) else 0


def _print(findings: list[CheckResult], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([each._asdict() for each in findings], indent=2))
        return
    for line in aligned(
        [
            each.level,
            one_line(each.check),
            one_line(f"{each.text}: {each.remedy}" if each.remedy else each.text),
        ]
        for each in findings
    ):
        click.echo(line)
