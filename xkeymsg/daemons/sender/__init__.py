"""The sender: seals messages and publishes them."""
