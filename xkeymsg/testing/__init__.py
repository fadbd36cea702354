"""For tests and demonstrations: a real nats-server on a free loopback port."""

from xkeymsg.testing.server import NATSServer

__all__ = ("NATSServer",)
