"""Tests of the native core, which are skipped where it is not built."""
