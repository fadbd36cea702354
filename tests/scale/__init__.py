"""Replay and opening at the sizes that users reach: `python -m tests.scale --help`."""
