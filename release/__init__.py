"""Builds what is published: `python -m release`, which `make dist` runs."""
