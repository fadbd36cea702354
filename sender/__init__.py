"""The sender: seals a message and publishes it."""
