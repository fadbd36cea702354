"""Randomness: the one module of the pure layers that asks the operating system for anything.

Everything above is a function of its arguments: what needs randomness is called with it, or has a
private twin that takes it as an argument, so that tests and vectors need no patching.
"""

from __future__ import annotations

import os

__all__ = ("random_bytes",)

random_bytes = os.urandom
"""`random_bytes(n)`: n bytes from the kernel; never buffered: a buffer would repeat after fork."""
