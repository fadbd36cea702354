"""The NATS permissions that readers and writers of a bucket need, and no others."""

from __future__ import annotations

from typing import Final

from xkeymsg.daemons.common.permissions import Permissions
from xkeymsg.kv.names import check_bucket_name
from xkeymsg.objects.names import check_bucket

__all__ = ("kv_permissions", "object_permissions")

_INBOX: Final = ("_INBOX.>",)
_API: Final = "$JS.API."


def kv_permissions(bucket: str) -> list[Permissions]:
    """Return the permissions for a key-value bucket.

    Raises:
        ConfigurationError: If the name is invalid.
    """
    stream = f"KV_{check_bucket_name(bucket)}"
    info, newest = f"{_API}STREAM.INFO.{stream}", f"{_API}DIRECT.GET.{stream}.>"
    leader = f"{_API}STREAM.MSG.GET.{stream}"
    reader = (
        info,
        newest,
        f"{_API}DIRECT.GET.{stream}",
        f"{_API}CONSUMER.CREATE.{stream}",
        f"$JS.FC.{stream}.>",
    )
    writer = (f"$KV.{bucket}.>",)
    of_reader = ((leader, "asks the leader if a replica lags"),)
    why = "create, blinded names, and expiry by the server"
    of_writer = ((info, why), (newest, why), (leader, "recognizes its own retry"))
    return [
        Permissions("reader", reader, _INBOX, responses=False, optional=of_reader),
        Permissions("writer", writer, _INBOX, responses=False, optional=of_writer),
    ]


def object_permissions(bucket: str) -> list[Permissions]:
    """Return the permissions for an object bucket.

    Raises:
        ConfigurationError: If the name is invalid.
    """
    stream = f"OBJ_{check_bucket(bucket)}"
    entry = f"{_API}STREAM.MSG.GET.{stream}"
    reader = (
        entry,
        f"{_API}CONSUMER.CREATE.{stream}",
        f"{_API}CONSUMER.DELETE.{stream}.*",
        f"{_API}CONSUMER.MSG.NEXT.{stream}.*",
    )
    writer = (f"$O.{bucket}.>", entry)
    of_writer = (
        (f"{_API}STREAM.PURGE.{stream}", "deletes replaced chunks; may purge the whole bucket"),
    )
    return [
        Permissions("reader", reader, _INBOX, responses=False),
        Permissions("writer", writer, _INBOX, responses=False, optional=of_writer),
    ]
