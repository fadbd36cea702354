"""The daemons: the receiver, the sender, and what they share."""
