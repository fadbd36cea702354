"""Sealed messages over NATS: publish, subscribe, request, and streams."""
