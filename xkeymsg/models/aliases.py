"""Aliases of the fields of pydantic models, for validation and serialization."""

from __future__ import annotations

from typing import Any

from xkeymsg.errors import PolicyError

__all__ = ("aliases_of", "by_alias_of")


def _read_paths(model: Any, name: str) -> list[list[str | int]]:
    """Return the paths that a field is read from."""
    config = getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", {}) or {}
    alias = model.__pydantic_fields__[name].validation_alias
    paths: list[Any] = []
    if alias is not None and config.get("validate_by_alias", True) is not False:
        found = [alias] if isinstance(alias, str) else alias.convert_to_aliases()
        paths = found if isinstance(found[0], list) else [found]  # an AliasPath is one path
    if alias is None or config.get("validate_by_name") or config.get("populate_by_name"):
        paths = [*paths, [name]]
    return paths


def by_alias_of(model: Any) -> bool | None:
    """Return whether to dump a model by alias, so that it can be read; None without aliases.

    Raises:
        PolicyError: If its fields cannot be read either way.
    """
    possible = {True, False}
    aliased = False
    for name, field in model.__pydantic_fields__.items():
        if not field.exclude:
            key = field.serialization_alias or name
            aliased |= key != name
            paths = _read_paths(model, name)
            possible &= {by for by, each in ((True, key), (False, name)) if [each] in paths}
            if not possible:
                raise PolicyError(f"{key} has different aliases for validation and serialization")
    return True in possible if aliased else None


def aliases_of(model: Any) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Return the names of each field in documents, first as dumped; and whether it has a path."""
    try:
        by_alias = by_alias_of(model)
    except PolicyError:  # it cannot be sealed, but read
        by_alias = None
    aliases = {}
    for name, field in model.__pydantic_fields__.items():
        paths = _read_paths(model, name)
        key = name if by_alias is False else field.serialization_alias or name
        first = [key] if [key] in paths else []
        names = tuple(dict.fromkeys([*first, *(str(path[0]) for path in paths)]))
        aliases[name] = names, any(len(path) > 1 for path in paths)
    return aliases
