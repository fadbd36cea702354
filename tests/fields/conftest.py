"""A clock that tests set, and which way messages were opened."""

from tests.envelope.fixtures import clock

__all__ = ("clock",)
