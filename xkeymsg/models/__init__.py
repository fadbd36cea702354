"""Typed models: dataclasses, pydantic models and msgspec Structs. Outside the auditor's core."""

from xkeymsg.models.msgspec import Msgspec
from xkeymsg.models.plain import Dataclasses
from xkeymsg.models.pydantic import Pydantic
from xkeymsg.models.tree import ADAPTERS

ADAPTERS.update(dataclass=Dataclasses(), pydantic=Pydantic(), msgspec=Msgspec())
