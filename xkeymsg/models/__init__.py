"""Typed models as documents: dataclasses, pydantic models and msgspec Structs."""
