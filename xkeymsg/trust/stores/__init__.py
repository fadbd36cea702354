"""Storage of secret keys and peers, one kind per module. A store looks up; it decides nothing."""
