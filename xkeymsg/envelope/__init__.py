"""xkm1: one message for many recipients, everything in it authenticated.

The format is specified in docs/spec/envelope.md; the ids in this package (E-1, …) are its ids.
"""
