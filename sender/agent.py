"""The tutorial's sender, for use without a configuration: seals and publishes one message."""

from __future__ import annotations

from collections.abc import Sequence

from xkeymsg import xkv1
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.sealer import Sealer
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

__all__ = ("send",)


async def send(
    options: ConnectOptions,
    pair: XKeyPair,
    recipients: Sequence[XKey],
    subject: str,
    data: bytes,
    *,
    xkm1: bool,
) -> int:
    """Seal `data`, publish it and return its size on the wire, in bytes.

    The header `sender` names our key, as in the tutorial: a hint for receivers of xkv1, which need
    the sender's key to open it.

    Args:
        options: The server and login.
        pair: Our key.
        recipients: The recipients' keys; exactly one for xkv1.
        subject: The subject to publish to; with xkm1 the message is also sealed for it.
        data: The message.
        xkm1: Whether to use xkm1 instead of the tutorial's xkv1.

    Raises:
        PayloadTooLargeError: If it exceeds the server's limit; nothing was sent.
        DeliveryError: If the server refused it, or did not answer in time.
        ConnectionFailedError: If the connection fails.
    """
    headers = encode_block({"sender": str(pair.public)})
    if xkm1:
        sealed = Sealer(pair).seal(data, to=recipients, subject=subject)
    else:
        sealed = xkv1.seal(data, key=pair, to=recipients[0])
    async with open_link(options) as link:
        await link.publish(subject, sealed, headers=headers)
        await link.confirm()
    return len(headers) + len(sealed)
