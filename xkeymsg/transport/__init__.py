"""Everything between a program and its NATS server."""
