"""Settings of the configuration files, and limits: names, types, defaults and meanings."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Final

from xkeymsg.cli.settings import Setting, setting_tables, texts_below
from xkeymsg.limits import MAX_HEAD, MAX_SUBJECT, Limits

__all__ = ("limits", "settings")

_QUOTED: Final = re.compile(r'"[^"]*"')


def settings(program: str) -> str:
    """Return a section for each table of a configuration file."""
    parts = []
    for table in setting_tables(program):
        parts += [f"## `{table.header}`" if table.header else "## At the top", table.text]
        parts += [_setting(f"{program}.{table.place}", each) for each in table.settings]
    return "\n\n".join(parts)


def _setting(place: str, setting: Setting) -> str:
    default = "none: required" if setting.required else setting.default and f"`{setting.default}`"
    kind = _QUOTED.sub(r"`\g<0>`", setting.kind)
    lines = [f":::{{confval}} {place}{setting.name}", f":type: {kind}"]
    lines += [f":default: {default}"] if default else []
    return "\n".join([*lines, "", setting.text, ":::"])


def limits() -> str:
    """Return the limits, with their defaults and meanings."""
    texts = texts_below(Limits)
    rows = ["| limit | default | |", "|---|--:|---|"]
    rows += [
        f"| `{field.name}` | {field.default:,} | {texts[field.name][1]} |"
        for field in fields(Limits)
    ]
    for name, value in (("head", MAX_HEAD), ("subject", MAX_SUBJECT)):
        rows.append(f"| {name} | {value:,} | Bytes of the {name}; fixed by the format. |")
    return "\n".join(rows)
