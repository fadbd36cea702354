"""Reseals stored messages to other recipients; see docs/reseal.md."""
