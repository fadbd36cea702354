"""The receiver: opens sealed messages and forwards them."""
