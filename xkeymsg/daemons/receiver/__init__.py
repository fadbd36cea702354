"""The receiver: opens sealed messages and passes them on."""
