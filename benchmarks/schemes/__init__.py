"""Ways to seal one message for several recipients, all with X25519 keys; one library a module."""
