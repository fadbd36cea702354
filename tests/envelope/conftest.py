"""Makes the fixtures of the envelope tests known."""

from tests.envelope.fixtures import clock

__all__ = ("clock",)
