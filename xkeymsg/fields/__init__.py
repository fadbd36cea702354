"""Documents split by permission: one message shows each receiver only its permitted fields.

Specified in docs/spec/fields.md; the ids in this package (F-1, …) refer to it.
"""
