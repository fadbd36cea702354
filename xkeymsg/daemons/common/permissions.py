"""The NATS permissions that a daemon's connections need, and no others.

A daemon with exactly these works, and uses each of them. With the optional ones it can also check
and report more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.daemons.common.sections import (
    NatsSection,
    SourcesSection,
)
from xkeymsg.directory.settings import EVENTS, STREAM, subject_of
from xkeymsg.transport.credentials import read_login
from xkeymsg.trust.stores.chains import own_account
from xkeymsg.trust.stores.published_entry import Place

__all__ = ("Needs", "Permissions")

_NOTHING: Final = ">"


class Permissions(NamedTuple):
    """The permissions of one connection."""

    connection: str
    """The section of the configuration: `nats`, `source`, `sinks.NAME`."""
    publish: tuple[str, ...]
    """Subjects and patterns."""
    subscribe: tuple[str, ...]
    """Subjects and patterns; `orders.> workers` is for the queue group `workers` only."""
    responses: bool
    """Whether it answers requests (`allow_responses`)."""
    optional: tuple[tuple[str, str], ...] = ()
    """Further subjects to publish on, and what each is for."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object, with rules as in nats-server's configuration."""
        rules: dict[str, Any] = {
            "publish": _rules(self.publish),
            "subscribe": _rules(self.subscribe),
        }
        if self.responses:
            rules["allow_responses"] = True
        optional = [{"publish": subject, "for": why} for subject, why in self.optional]
        return {"connection": self.connection, "permissions": rules, "optional": optional}

    def as_text(self) -> str:
        """Return the `permissions` of a user in nats-server's configuration."""
        lines = [f"# [{self.connection}]", "permissions = {"]
        lines += _block("publish", self.publish, self.optional)
        lines += _block("subscribe", self.subscribe, ())
        if self.responses:
            lines.append("  allow_responses = true")
        return "\n".join([*lines, "}"])


def _rules(subjects: tuple[str, ...]) -> dict[str, list[str]]:
    return {"allow": [*subjects]} if subjects else {"deny": [_NOTHING]}  # [] would allow everything


def _block(kind: str, subjects: tuple[str, ...], optional: Iterable[tuple[str, str]]) -> list[str]:
    [(rule, listed)] = _rules(subjects).items()
    lines = [f"    {json.dumps(each)}" for each in listed]
    lines += [f"    # {json.dumps(each)}  # optional: {why}" for each, why in optional]
    return [f"  {kind} = {{ {rule} = [", *lines, "  ] }"]


class Needs:
    """Collects the permissions of a connection, which always subscribes to its inbox.

    Args:
        connection: The name of the section.
        section: The section of the configuration.
    """

    def __init__(self, connection: str, section: NatsSection) -> None:
        self._connection, self._section = connection, section
        self._api = section.options("").jetstream_api
        self._publish: dict[str, None] = {}
        self._subscribe: dict[str, None] = {f"{section.inbox_prefix}.>": None}
        self._optional: dict[str, str] = {}
        self._responses = False

    def permissions(self) -> Permissions:
        """Return what was collected."""
        return Permissions(
            self._connection,
            tuple(self._publish),
            tuple(self._subscribe),
            self._responses,
            tuple(self._optional.items()),
        )

    def publishes(self, subject: str) -> None:
        """Allow publishing."""
        self._publish[subject] = None

    def listens(self, subject: str, queue: str | None) -> None:
        """Allow a subscription, in its queue group only if it has one."""
        self._subscribe[f"{subject} {queue}" if queue else subject] = None

    def asks(self, *requests: str) -> None:
        """Allow requests to JetStream's API."""
        for each in requests:
            self.publishes(f"{self._api}.{each}")

    def consumes(self, stream: str, durable: str, *, create: bool) -> None:
        """Allow consuming with a durable."""
        name = f"{stream}.{durable}"
        self.asks(f"STREAM.INFO.{stream}", f"CONSUMER.INFO.{name}", f"CONSUMER.MSG.NEXT.{name}")
        if create:
            self.asks(f"CONSUMER.CREATE.{name}")
        self.publishes(f"$JS.ACK.{name}.>")
        long = "required if the server's acknowledgement subjects contain domain and account"
        self._optional[f"$JS.ACK.*.*.{name}.>"] = long

    def stores(self, subject: str) -> None:
        """Allow publishing to a stream, with its acknowledgement."""
        self.publishes(subject)
        why = "reports at once that no stream takes a subject"
        self._optional[f"{self._api}.STREAM.NAMES"] = why

    def may_ask(self, request: str, why: str) -> None:
        """Add an optional request."""
        self._optional[f"{self._api}.{request}"] = why

    def follows(self, trust: SourcesSection, key: KeySection | None = None) -> None:
        """Allow following the directory, and with an own key publishing the own entry."""
        if not trust.directory:
            return
        login = self._section.options("").creds
        own = None if login is None else own_account(read_login(login))
        self.asks(f"DIRECT.GET.{STREAM}")
        self.listens(f"{EVENTS}>", None)
        self.may_ask(f"CONSUMER.CREATE.{STREAM}", "reads the directory faster, in its own account")
        self.may_ask(f"STREAM.INFO.{STREAM}", "checks the bucket, in its own account")
        if own is not None and key is not None:
            account = own.account
            self._optional[f"$SYS.REQ.ACCOUNT.{account}.INFO"] = "sees revocations at once"
            entry = subject_of(Place(account, own.claims.subject))
            if key.rotation is not None:
                self.publishes(entry)
            else:
                self._optional[entry] = "repairs the own entry of the directory"

    def serves(self, name: str) -> None:
        """Allow answers to `nats micro`."""
        self._responses = True
        for verb in ("PING", "INFO", "STATS"):
            for end in ("", f".{name}", f".{name}.*"):
                self.listens(f"$SRV.{verb}{end}", None)
