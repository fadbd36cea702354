"""The directory: entries of users and accounts in a JetStream bucket that need not be trusted."""
