"""Makes the fixtures of the envelope tests known."""

from tests.envelope.fixtures import clock, pure

__all__ = ("clock", "pure")
