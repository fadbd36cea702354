"""Errors of key stores, configuration, transport, services and buckets; see `xkeymsg.errors`."""

from __future__ import annotations

from xkeymsg.errors.messages import XKeyMsgError

__all__ = (
    "ConfigurationError",
    "ConnectionFailedError",
    "DeliveryError",
    "KVError",
    "KeyDeletedError",
    "KeyNotFoundError",
    "KeyStoreError",
    "ObjectNotFoundError",
    "PayloadTooLargeError",
    "PinError",
    "ServiceError",
    "TransportError",
    "UnauthenticatedDeletionError",
    "WatchGapError",
    "WrongRevisionError",
)


class KeyStoreError(XKeyMsgError):
    """A secret key cannot be read from, or written to, its store."""

    code = "key_store"


class PinError(KeyStoreError):
    """A token refused its PIN, or may be locked by one more try; a program must not try again."""

    code = "pin"


class ConfigurationError(XKeyMsgError):
    """A setting is missing, contradicts another, or has an invalid value."""

    code = "configuration"


class ObjectNotFoundError(XKeyMsgError):
    """The bucket has no such object, or an admitted sender has deleted it: the text says who."""

    code = "object_not_found"


class TransportError(XKeyMsgError):
    """The connection or an exchange with the NATS server failed."""


class DeliveryError(TransportError):
    """The server did not accept a message."""

    code = "delivery"
    retryable = True

    def __init__(self, reason: str, err_code: int | None = None) -> None:
        super().__init__(*((reason,) if err_code is None else (reason, err_code)))
        self.err_code = err_code
        """JetStream's error code (10071: wrong last sequence), if it sent one."""

    def __str__(self) -> str:
        return str(self.args[0])


class PayloadTooLargeError(TransportError):
    """A message exceeds a size limit of the server or the stream, headers included."""

    code = "payload_too_large"

    def __init__(self, size: int, limit: int | None = None) -> None:
        super().__init__(size, limit)
        self.size = size
        """The size of the message on the wire in bytes, headers included."""
        self.limit = limit
        """The server's `max_payload`, in bytes; None for a stream's `max_msg_size`, which a refusal
        does not tell."""

    def __str__(self) -> str:
        limit = "the stream's max_msg_size is smaller"
        if self.limit is not None:
            limit = f"the server's max_payload is {self.limit}"
        return f"takes {self.size} bytes with headers; {limit}"


class ConnectionFailedError(TransportError):
    """Connecting to a NATS server failed; the text says what was tried and what to check."""

    code = "connection"
    retryable = True

    def __init__(self, reason: str = "", check: str = "") -> None:
        super().__init__(f"{reason}; {check}" if check else reason)
        self.reason = reason
        """What was tried, and why it failed."""
        self.check = check
        """What to check, if anything."""


class ServiceError(XKeyMsgError):
    """A service answered a request with an error; handlers raise it to send one.

    Both arguments are sealed to the requester, which learns nothing else of a handler's failure.
    """

    code = "service"

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason, text)
        self.reason = reason
        """The failure's name, for programs: the service's own, or `internal` if its handler raised
        anything other than a ServiceError."""
        self.text = text
        """An explanation for people."""

    def __str__(self) -> str:
        return f"the service answered {self.reason!a}" + (f": {self.text!a}" if self.text else "")


class KVError(XKeyMsgError):
    """An operation on a key of a bucket failed."""


class KeyNotFoundError(KVError):
    """The bucket has no value for the key, says the broker."""

    code = "key_not_found"


class KeyDeletedError(KeyNotFoundError):
    """An admitted sender has deleted the key: its newest entry is a sealed tombstone."""

    code = "key_deleted"


class UnauthenticatedDeletionError(XKeyMsgError):
    """The value or object is gone, and there is no sealed tombstone of an admitted sender."""

    code = "unauthenticated_deletion"


class WrongRevisionError(KVError):
    """The key has another revision than expected: someone else has written it."""

    code = "wrong_revision"


class WatchGapError(KVError):
    """A watch did not get a revision that a later value replaces."""

    code = "watch_gap"
