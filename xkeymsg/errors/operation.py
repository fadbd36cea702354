"""Errors of key stores, configuration, transport and services. See `xkeymsg.errors`."""

from __future__ import annotations

from xkeymsg.errors.messages import XKeyMsgError

__all__ = (
    "ConfigurationError",
    "ConnectionFailedError",
    "DeliveryError",
    "KeyStoreError",
    "PayloadTooLargeError",
    "ServiceError",
    "TransportError",
)


class KeyStoreError(XKeyMsgError):
    """A secret key cannot be read from, or written to, where it is kept."""

    code = "key_store"


class ConfigurationError(XKeyMsgError):
    """A setting is missing, contradicts another, or has a value that cannot be used."""

    code = "configuration"


class TransportError(XKeyMsgError):
    """Something between this program and the NATS server failed."""


class DeliveryError(TransportError):
    """The server did not take a message."""

    code = "delivery"
    retryable = True

    def __init__(self, reason: str, err_code: int | None = None) -> None:
        super().__init__(*((reason,) if err_code is None else (reason, err_code)))
        self.err_code = err_code
        """The number that JetStream gives its errors (10071: wrong last sequence), if it is one."""

    def __str__(self) -> str:
        return str(self.args[0])


class PayloadTooLargeError(TransportError):
    """A message would not fit the server's `max_payload`, headers included."""

    code = "payload_too_large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        """What the message would take on the wire, headers included, in bytes."""
        self.limit = limit
        """The server's `max_payload`, in bytes."""

    def __str__(self) -> str:
        return f"would take {self.size} bytes, and the server's max_payload is {self.limit}"


class ConnectionFailedError(TransportError):
    """No connection to a NATS server; the text says what was tried and what to check."""

    code = "connection"
    retryable = True


class ServiceError(XKeyMsgError):
    """A service answered a request with an error; a handler raises one to answer so.

    Both arguments travel to whoever asked, sealed; nothing else of a handler's failure does.
    """

    code = "service"

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason, text)
        self.reason = reason
        """A name for the failure, for programs: the service's own, or `internal` where its handler
        failed without saying why."""
        self.text = text
        """What it has to say to people."""

    def __str__(self) -> str:
        return f"the service answered {self.reason!a}" + (f": {self.text!a}" if self.text else "")
