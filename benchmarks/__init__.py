"""Benchmarks of xkeymsg: `python -m benchmarks`; see README.md."""
