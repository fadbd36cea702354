"""Sealed messages in JetStream: acknowledged publishing, consuming, quarantine."""
