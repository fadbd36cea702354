"""The bucket `XKEYS`: its configuration, and what is wrong with another one.

With the usual settings of a KV bucket, whoever may write one entry can erase all: a message with
`Nats-Rollup: all` replaces the whole stream. `subject_delete_marker_ttl` turns rollups on by
itself, whatever the request says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from xkeymsg.nkey import is_public
from xkeymsg.trust.jwt import Kind
from xkeymsg.trust.stores.published_entry import Place

__all__ = (
    "EVENTS",
    "STREAM",
    "bucket_config",
    "bucket_faults",
    "place_of",
    "subject_of",
)

STREAM: Final = "KV_XKEYS"
EVENTS: Final = "_XKM.DIR."
"""The prefix of the subjects on which the server repeats each change."""
_PREFIX: Final = "$KV.XKEYS."


def subject_of(place: Place) -> str:
    """Return the subject of an entry."""
    return f"{_PREFIX}{place.account}.{place.user or 'account'}"


def place_of(subject: str) -> Place | None:
    """Return the place of a subject, or None if it has none."""
    tokens = subject.split(".")
    if len(tokens) != 4 or f"{tokens[0]}.{tokens[1]}." != _PREFIX:
        return None
    _, _, account, user = tokens
    if user == "account":
        return Place(account, "")
    return Place(account, user) if user.startswith("U") and is_public(user) else None


def bucket_config(replicas: int = 1) -> dict[str, Any]:
    """Return the configuration of the bucket."""
    return {
        "name": STREAM,
        "subjects": [f"{_PREFIX}>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": Kind.ACCOUNT.size,
        "allow_direct": True,
        "allow_rollup_hdrs": False,
        "deny_delete": True,
        "deny_purge": True,
        "republish": {"src": f"{_PREFIX}>", "dest": f"{EVENTS}{_PREFIX}>"},
    }


_EXACTLY: Final = {
    "allow_rollup_hdrs": "whoever may write one entry can erase all of them",
    "deny_purge": "entries can be purged",
    "deny_delete": "entries can be deleted",
    "allow_direct": "Direct Get is off",
    "max_msgs_per_subject": "it does not keep exactly one entry of each key",
    "discard": "a full bucket discards old entries",
    "retention": "readers consume entries",
    "subjects": "it has other subjects",
}
_ABSENT: Final = {
    "max_age": "entries end by themselves",
    "allow_msg_ttl": "a writer can let entries end by themselves",
    "subject_delete_marker_ttl": "it turns rollups on",
    "allow_msg_counter": "entries are counters",
    "allow_msg_schedules": "a writer can schedule other entries",
    "mirror": "it is a copy of another stream",
    "sources": "it copies other streams",
    "subject_transform": "it moves entries to other keys",
    "sealed": "nothing can be written",
}


def bucket_faults(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what makes a bucket unsafe or unusable."""
    right = bucket_config()
    for name, why in _EXACTLY.items():
        if config.get(name, False) != right[name]:
            yield f"{name}: {why}"
    for name, why in _ABSENT.items():
        if config.get(name):
            yield f"{name}: {why}"
    if type(size := config.get("max_msg_size")) is not int or not 0 < size <= Kind.ACCOUNT.size:
        yield f"max_msg_size: entries may be larger than {Kind.ACCOUNT.size} bytes"
    elif size < Kind.ACCOUNT.size:
        yield "max_msg_size: account JWTs may not fit"
    if not _repeats(config.get("republish")):
        yield f"republish: changes are not repeated on {EVENTS}>"


def _repeats(republish: object) -> bool:
    if not isinstance(republish, Mapping) or republish.get("headers_only"):
        return False
    source, to = republish.get("src"), republish.get("dest")
    return source == f"{_PREFIX}>" and to == f"{EVENTS}{_PREFIX}>"
