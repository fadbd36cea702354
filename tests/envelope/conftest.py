"""A clock that tests set, and which way messages were opened."""

from tests.envelope.fixtures import clock, general

__all__ = ("clock", "general")
