"""Output of opened messages on stdout: as text, as JSON lines, or raw."""

from __future__ import annotations

import base64
import json
from typing import Protocol

import click

from xkeymsg.daemons.common.terminal import quote, say
from xkeymsg.keys import XKey

__all__ = ("OUTPUTS", "Printer")


class Printer(Protocol):
    """An output format for opened messages."""

    def start(self, public: XKey) -> None:
        """Print the key to seal to; the receiver is listening."""

    def show(self, subject: str, sender: XKey, data: bytes) -> None:
        """Print one message."""


class _TextPrinter:
    """The tutorial's lines; the receiver's key goes to stdout, so that it can be copied."""

    def start(self, public: XKey) -> None:
        click.echo(f"Receiver Public Key: {public}")
        click.echo("Receiver is running, press Ctrl+C to stop", err=True)

    def show(self, subject: str, sender: XKey, data: bytes) -> None:
        click.echo(f"Received message from {sender}\nThe sender sent us {quote(data)}")


class _JSON:
    """One object per line; `data` if the message is UTF-8, else `data_base64`."""

    def start(self, public: XKey) -> None:
        say("receiver", f"public key {public}")

    def show(self, subject: str, sender: XKey, data: bytes) -> None:
        line = {"subject": subject, "sender": str(sender)}
        try:
            line["data"] = data.decode()
        except UnicodeDecodeError:
            line["data_base64"] = base64.b64encode(data).decode()
        click.echo(json.dumps(line))


class _Raw:
    """The opened bytes, without separators."""

    def start(self, public: XKey) -> None:
        say("receiver", f"public key {public}")

    def show(self, subject: str, sender: XKey, data: bytes) -> None:
        click.echo(data, nl=False)


OUTPUTS: dict[str, type[Printer]] = {"text": _TextPrinter, "json": _JSON, "raw": _Raw}
