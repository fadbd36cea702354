"""Sealed object stores (docs/spec/objects.md): large data in chunks, and a sealed manifest."""
