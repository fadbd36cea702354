"""Trust: identities, peers, and storage of secret keys."""
