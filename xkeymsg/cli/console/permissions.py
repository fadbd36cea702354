"""The NATS permissions that the console needs: to ask services and JetStream, and nothing else."""

from __future__ import annotations

from xkeymsg.cli.console.config import ConsoleConfig
from xkeymsg.cli.console.terminated import advisories_of
from xkeymsg.daemons.common.permissions import Needs, Permissions

__all__ = ("permissions_of",)


def permissions_of(config: ConsoleConfig) -> list[Permissions]:
    """Return the permissions of the connection; it can publish no message, and change nothing."""
    needs = Needs("nats", config.nats)
    needs.publishes("$SRV.STATS")
    for name in (config.unproven, config.proven, *config.streams):
        needs.asks(f"STREAM.INFO.{name}", f"STREAM.MSG.GET.{name}")
    for name in config.streams:
        needs.asks(f"CONSUMER.LIST.{name}")
    if config.streams:
        needs.listens(advisories_of(config.streams), None)
    if config.trust is not None:
        needs.follows(config.trust)
    return [needs.permissions()]
