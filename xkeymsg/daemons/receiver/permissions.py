"""The NATS permissions that a receiver's configuration needs."""

from __future__ import annotations

from xkeymsg.daemons.common.permissions import Needs, Permissions
from xkeymsg.daemons.receiver.config import NATSSink, ReceiverConfig

__all__ = ("permissions_of",)


def permissions_of(config: ReceiverConfig) -> list[Permissions]:
    """Return the permissions of each connection."""
    needs = Needs("nats", config.nats)
    for route in config.route:
        if route.subject is not None:
            needs.listens(route.subject, route.queue)
        if route.stream is not None and route.durable is not None:
            needs.consumes(route.stream, route.durable, create=route.create_durable)
    if any(route.stream for route in config.route):
        for name in (config.quarantine.unproven, config.quarantine.proven):
            needs.asks(f"STREAM.INFO.{name}")
            if config.quarantine.create:
                needs.asks(f"STREAM.CREATE.{name}")
            needs.stores(f"{name}.>")
    needs.follows(config.trust, config.key)
    _of_rotation(config, needs)
    if config.observe.micro:
        needs.serves(config.name)
    sinks = [
        _of_sink(name, sink) for name, sink in config.sinks.items() if isinstance(sink, NATSSink)
    ]
    return [needs.permissions(), *sinks]


def _of_rotation(config: ReceiverConfig, needs: Needs) -> None:
    streams = {each.stream for each in config.route if each.stream}
    if config.key.rotation == "self" and streams:
        for name in sorted({*streams, config.quarantine.unproven, config.quarantine.proven}):
            needs.may_ask(f"STREAM.MSG.GET.{name}", "deletes retired keys that nothing needs")


def _of_sink(name: str, sink: NATSSink) -> Permissions:
    needs = Needs(f"sinks.{name}", sink)
    fixed, has_more, _ = sink.subject.partition("{subject}")
    # The sealed subject may have any number of tokens, also if a token only contains it.
    subject = f"{fixed.rpartition('.')[0]}.>".removeprefix(".") if has_more else fixed
    if sink.jetstream:
        needs.stores(subject)
    else:
        needs.publishes(subject)
    return needs.permissions()
