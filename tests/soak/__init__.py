"""Faults while messages flow, and books that have to balance: `python -m tests.soak`."""
