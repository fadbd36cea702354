"""Shared by the programs: terminal output, lifecycle, configuration."""
