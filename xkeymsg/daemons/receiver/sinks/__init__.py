"""Sinks for opened messages, one kind per module."""
