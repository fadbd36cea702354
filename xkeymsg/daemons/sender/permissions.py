"""The NATS permissions that a sender's configuration needs."""

from __future__ import annotations

from typing import Final

from xkeymsg.daemons.common.permissions import Needs, Permissions
from xkeymsg.daemons.common.sections import NatsSection
from xkeymsg.daemons.sender.config import SenderConfig
from xkeymsg.daemons.sender.subject_map import SubjectMap

__all__ = ("permissions_of",)

_COMPARE: Final = "distinguishes its own retry from another message under the same id"
_WINDOW: Final = "warns of a short duplicate_window"


def permissions_of(config: SenderConfig) -> list[Permissions]:
    """Return the permissions of each connection."""
    needs = Needs("nats", config.nats)
    for route in config.route:
        subject = SubjectMap(route.pattern, route.to).pattern
        if route.output == "core":
            needs.publishes(subject)
            continue
        needs.stores(subject)
        needs.may_ask("STREAM.MSG.GET.*", _COMPARE)
        if route.stream is not None:
            needs.may_ask("STREAM.INFO.*", _WINDOW)
    needs.follows(config.trust, config.key)
    if config.observe.micro:
        needs.serves(config.name)
    found = [needs.permissions()]
    if config.source is not None:
        found.append(_of_source(config, config.source))
    return found


def _of_source(config: SenderConfig, source: NatsSection) -> Permissions:
    needs = Needs("source", source)
    for route in config.route:
        if route.stream is not None and route.durable is not None:
            needs.consumes(route.stream, route.durable, create=route.create_durable)
        elif route.subject is not None:
            needs.listens(route.subject, route.queue)
    return needs.permissions()
