"""The connection between a program and its NATS server."""
