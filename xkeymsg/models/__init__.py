"""Conversion of typed models: dataclasses, pydantic models and msgspec Structs."""
