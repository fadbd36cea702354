"""The configuration of a stream for sealed messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from xkeymsg.arguments import milliseconds
from xkeymsg.client.jetstream.api import check_name
from xkeymsg.envelope.subject import REPLIES
from xkeymsg.errors import ConfigurationError

__all__ = ("build_config",)

_WINDOW: Final = 120.0
_NS_PER_MS: Final = 1_000_000
_RETENTION: Final = ("limits", "interest", "workqueue")
_STORAGE: Final = ("file", "memory")
_DISCARD: Final = ("old", "new")


def build_config(
    name: str,
    subjects: str | Iterable[str],
    *,
    retention: str,
    storage: str,
    discard: str,
    max_age: float | None,
    max_bytes: int | None,
    max_messages: int | None = None,
    duplicate_window: float | None,
    replicas: int,
) -> dict[str, Any]:
    """Return the configuration of a stream for JetStream; see `JetStream.add_stream`.

    Raises:
        ConfigurationError: If a value is invalid.
        TypeError: If an argument has the wrong type.
    """
    patterns = [subjects] if isinstance(subjects, str) else list(subjects)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"a subject must be a str, not {type(pattern).__name__}")
        if pattern.split(".")[0] == REPLIES:
            raise ConfigurationError(f"subject {REPLIES} is reserved for replies")
    if retention not in _RETENTION or storage not in _STORAGE or discard not in _DISCARD:
        raise ConfigurationError(
            f"expected retention {_RETENTION}, storage {_STORAGE}, discard {_DISCARD}"
        )
    age = 0 if max_age is None else milliseconds("max_age", max_age)
    if duplicate_window is None:
        duplicate_window = min(_WINDOW, age / 1000 or _WINDOW)
    window = milliseconds("duplicate_window", duplicate_window)
    if not patterns or window <= 0 or (max_age is not None and age <= 0):
        raise ConfigurationError("subjects must not be empty, durations must be above 0")
    if max_age is not None and window > age:
        raise ConfigurationError("duplicate_window must not exceed max_age")
    return {
        "name": check_name("stream", name),
        "subjects": patterns,
        "retention": retention,
        "storage": storage,
        "discard": discard,
        "max_age": age * _NS_PER_MS,
        "max_bytes": -1 if max_bytes is None else max_bytes,
        "max_msgs": -1 if max_messages is None else max_messages,
        "duplicate_window": window * _NS_PER_MS,
        "num_replicas": replicas,
        "allow_direct": True,
    }
