"""Support for tests and demos: a real nats-server on a free loopback port, and NATS in memory."""

from xkeymsg.testing.kv import MemoryBucket
from xkeymsg.testing.memory import MemoryNATS
from xkeymsg.testing.server import NATSServer

__all__ = ("MemoryBucket", "MemoryNATS", "NATSServer")
