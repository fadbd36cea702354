"""How an opened message is written to stdout: for people, as JSON lines, or as it is."""

from __future__ import annotations

import base64
import json
from typing import Protocol

import click

from xkeymsg.daemons.common.terminal import quote, say
from xkeymsg.keys import XKey

__all__ = ("OUTPUTS", "Printer")


class Printer(Protocol):
    """Where opened messages go."""

    def start(self, public: XKey) -> None:
        """Say which key to seal to: the receiver listens now."""

    def show(self, subject: str, sender: XKey, data: bytes) -> None:
        """Write one message."""


class _Text:
    """The tutorial's lines; the receiver's key is data here: it is what one copies."""

    def start(self, public: XKey) -> None:
        click.echo(f"Receiver Public Key: {public}")
        click.echo("Receiver is running, press Ctrl+C to stop", err=True)

    def show(self, subject: str, sender: XKey, data: bytes) -> None:
        click.echo(f"Received message from {sender}\nThe sender sent us {quote(data)}")


class _JSON:
    """One object a line; `data` where the message is UTF-8, `data_base64` where it is not."""

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
    """The bytes that were sealed, and nothing between two messages."""

    def start(self, public: XKey) -> None:
        say("receiver", f"public key {public}")

    def show(self, subject: str, sender: XKey, data: bytes) -> None:
        click.echo(data, nl=False)


OUTPUTS: dict[str, type[Printer]] = {"text": _Text, "json": _JSON, "raw": _Raw}
