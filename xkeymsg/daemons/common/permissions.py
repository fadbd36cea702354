"""The NATS permissions that a daemon's configuration needs, for each of its connections.

They are the least with which every function works: what is missing shows as an error, or as a check
that is not made. A pure function of the configuration, for `xkeymsg doctor` and for operators.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from xkeymsg.daemons.common.sections import NatsSection

__all__ = ("Permissions", "needed_permissions")


class Permissions(NamedTuple):
    """What a login must be allowed to do."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    allow_responses: bool
    """Whether it answers requests: those of `nats micro`."""

    def config(self) -> str:
        """Return them as `permissions` of a user in a nats-server configuration."""
        lines = [
            f"publish: {json.dumps(list(self.publish))}",
            f"subscribe: {json.dumps(list(self.subscribe))}",
        ]
        lines += ["allow_responses: true"] if self.allow_responses else []
        return f"permissions: {{ {', '.join(lines)} }}"


def needed_permissions(config: Any) -> dict[str, Permissions]:
    """Return the permissions by the name of the connection: `nats`, `source`, `sinks.NAME`.

    Args:
        config: A `ReceiverConfig` or a `SenderConfig`.
    """
    found = {"nats": _daemon(config.nats, config.observe.micro, *_main(config))}
    if getattr(config, "source", None) is not None:
        found["source"] = _daemon(config.source, False, *_source(config))
    for name, sink in getattr(config, "sinks", {}).items():
        if sink.kind == "nats":
            target = sink.subject.replace("{subject}", ">" if sink.subject.endswith("}") else "*")
            publish = [*_stored(sink, target)] if sink.jetstream else [target]
            found[f"sinks.{name}"] = _daemon(sink, False, publish, [])
    return found


def _daemon(
    nats: NatsSection, micro: bool, publish: Iterable[str], subscribe: Iterable[str]
) -> Permissions:
    services = ["$SRV.>"] if micro else []
    return Permissions(
        tuple(dict.fromkeys(publish)),
        tuple(dict.fromkeys([f"{nats.inbox_prefix}.>", *subscribe, *services])),
        micro,
    )


def _main(config: Any) -> tuple[list[str], list[str]]:
    """Return what the connection in `[nats]` publishes and subscribes to."""
    nats, publish, subscribe = config.nats, list[str](), list[str]()
    for route in config.route:
        if hasattr(route, "to"):  # of a sender
            from_ = None if route.stdin or route.files else route.subject or ">"
            pattern = _target(route.to, from_)
            publish += _stored(nats, pattern) if route.output == "jetstream" else [pattern]
        elif route.subject is not None:
            subscribe.append(route.subject)
        else:
            publish += _consumed(nats, route)
    if hasattr(config, "quarantine") and any(route.stream for route in config.route):
        api = nats.options("").jetstream_api
        for name in (config.quarantine.unproven, config.quarantine.proven):
            publish += [f"{name}.>", f"{api}.STREAM.INFO.{name}"]
            publish += [f"{api}.STREAM.CREATE.{name}"] if config.quarantine.create else []
    return publish, subscribe


def _source(config: Any) -> tuple[list[str], list[str]]:
    publish, subscribe = list[str](), list[str]()
    for route in config.route:
        if route.stream is not None:
            publish += _consumed(config.source, route)
        elif route.subject is not None:
            subscribe.append(route.subject)
    return publish, subscribe


def _consumed(nats: NatsSection, route: Any) -> Iterator[str]:
    """Yield what consuming a durable publishes to."""
    api, name = nats.options("").jetstream_api, f"{route.stream}.{route.durable}"
    yield f"{api}.STREAM.INFO.{route.stream}"
    yield f"{api}.STREAM.MSG.GET.{route.stream}"
    yield f"{api}.CONSUMER.INFO.{name}"
    yield f"{api}.CONSUMER.MSG.NEXT.{name}"
    if route.create_durable:
        yield f"{api}.CONSUMER.CREATE.{name}"
    yield f"$JS.ACK.{name}.>"
    yield f"$JS.ACK.*.*.{name}.>"  # with a domain


def _stored(nats: NatsSection, pattern: str) -> Iterator[str]:
    """Yield what publishing to a stream, and comparing duplicates, publishes to."""
    api = nats.options("").jetstream_api
    yield pattern
    yield from (f"{api}.STREAM.NAMES", f"{api}.STREAM.INFO.*", f"{api}.DIRECT.GET.*")


def _target(to: str, pattern: str | None) -> str:
    """Return the subjects that a sender's `to` can name, as one pattern."""
    tokens: list[str] = []
    for token in to.split("."):
        if token in ("{subject}", "{>}") or ("{" in token and pattern is None):
            return ".".join([*tokens, ">"])
        tokens.append("*" if "{" in token else token)
    return ".".join(tokens)
