"""`xkeymsg permissions`: the NATS permissions of daemons, the console, and users of a bucket."""

from __future__ import annotations

import json
from pathlib import Path

import click

from xkeymsg.cli.bucket_permissions import kv_permissions, object_permissions
from xkeymsg.cli.console import config as console
from xkeymsg.cli.console.permissions import permissions_of as permissions_of_console
from xkeymsg.daemons.common.config import daemon_of
from xkeymsg.daemons.common.permissions import Permissions
from xkeymsg.daemons.common.terminal import say_faults
from xkeymsg.daemons.receiver import config as receiver
from xkeymsg.daemons.receiver.permissions import permissions_of as permissions_of_receiver
from xkeymsg.daemons.sender import config as sender
from xkeymsg.daemons.sender.permissions import permissions_of as permissions_of_sender
from xkeymsg.errors import ConfigurationError
from xkeymsg.files import read_text
from xkeymsg.text import parse_toml

__all__ = ("permissions",)


@click.command(short_help="Print the NATS permissions for a daemon or a bucket.")
@click.argument(
    "config_file",
    metavar="[CONFIG]",
    required=False,
    type=click.Path(path_type=Path, dir_okay=False),
)
@click.option(
    "--console",
    "console_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="For the console with this configuration file.",
)
@click.option("--kv", "kv_bucket", metavar="BUCKET", help="For users of a key-value bucket.")
@click.option("--object", "object_bucket", metavar="BUCKET", help="For users of an object bucket.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array with one object per connection."
)
def permissions(
    *,
    config_file: Path | None,
    console_file: Path | None,
    kv_bucket: str | None,
    object_bucket: str | None,
    as_json: bool,
) -> int:
    """Print the NATS permissions that the daemon with the configuration CONFIG requires.

    \b
    xkeymsg permissions receiver.toml
    xkeymsg permissions --json sender.toml
    xkeymsg permissions --console console.toml
    xkeymsg permissions --kv CONFIG
    xkeymsg permissions --object scans

    With --kv or --object, it prints the permissions for readers and for writers of the bucket.

    For each connection it prints the `permissions` of a user, as in nats-server's configuration. A
    daemon with exactly these works; optional ones are comments. An `allow` list replaces the
    permission to use all subjects. As in the daemon, environment variables override CONFIG.

    Exit 1 if CONFIG is invalid.
    """  # noqa: D301 - click reads the character
    given = (config_file, console_file, kv_bucket, object_bucket)
    if sum(each is not None for each in given) != 1:
        raise click.UsageError("give one of CONFIG, --console, --kv and --object")
    try:
        if kv_bucket is not None:
            found = kv_permissions(kv_bucket)
        elif console_file is not None:
            found = permissions_of_console(console.load(console_file))
        elif object_bucket is not None:
            found = object_permissions(object_bucket)
        else:
            assert config_file is not None  # noqa: S101 - checked above
            found = _permissions_of(config_file)
    except ConfigurationError as error:
        return say_faults("xkeymsg", error)
    if as_json:
        click.echo(json.dumps([each.as_json() for each in found], indent=2))
    else:
        click.echo("\n\n".join(each.as_text() for each in found))
    return 0


def _permissions_of(path: Path) -> list[Permissions]:
    """Return the permissions of each connection; a file with sinks is a receiver's."""
    text = parse_toml(read_text(path, ConfigurationError), str(path), ConfigurationError)
    if daemon_of(text) == "receiver":
        return permissions_of_receiver(receiver.load(path))
    return permissions_of_sender(sender.load(path))
