"""Without a configuration the sender is the tutorial's: one message, sealed to one key."""

from __future__ import annotations

from xkeymsg.errors import PayloadTooLargeError
from xkeymsg.keys import XKV1_OVERHEAD, XKey, XKeyPair
from xkeymsg.transport.client import header_size
from xkeymsg.transport.connect import connect
from xkeymsg.transport.options import ConnectOptions

__all__ = ("send",)


async def send(
    options: ConnectOptions, pair: XKeyPair, recipient: XKey, subject: str, data: bytes
) -> int:
    """Seal `data` as xkv1, publish it and return its size on the wire, in bytes.

    The header `sender` names our key, as in the tutorial: a hint by which the receiver picks the
    key to open with.

    Raises:
        PayloadTooLargeError: If the server would not take it; nothing was sealed.
        DeliveryError: If the server refused it, or gave no answer in time.
        ConnectionFailedError: If there is no connection.
    """
    headers = {"sender": str(pair.public)}
    size = len(data) + XKV1_OVERHEAD + header_size(headers)
    async with connect(options) as connection:
        if size > connection.client.max_payload:
            raise PayloadTooLargeError(size, connection.client.max_payload)
        sealed = pair.seal(data, recipient)
        await connection.client.publish(subject, sealed, headers=headers)
        await connection.confirm()
    return size
