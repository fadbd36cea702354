"""`xkeymsg trust`: issue, change and check NATS JWTs and xkey certificates."""
