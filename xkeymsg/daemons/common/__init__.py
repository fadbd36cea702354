"""What the programs share: how they talk, end, and are told where to connect."""
