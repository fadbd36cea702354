"""A table of chains, each with the verdict of nats-server and ours."""
