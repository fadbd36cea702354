"""Documents split by permission: one message, and each receiver sees only what it may.

Specified in docs/spec/fields.md; the ids in this package (F-1, …) are its ids.
"""
