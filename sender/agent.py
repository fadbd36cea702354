"""Without a configuration the sender is the tutorial's: one message, sealed by hand."""

from __future__ import annotations

from collections.abc import Sequence

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

    The header `sender` names our key, as in the tutorial: a hint by which a receiver of xkv1 picks
    the key to open with.

    Args:
        options: Where to connect and as whom.
        pair: Our key.
        recipients: Who is to read it; for xkv1, one.
        subject: Where to publish, and with xkm1 what it is sealed for.
        data: The message.
        xkm1: Whether to use xkm1 in the place of the tutorial's xkv1.

    Raises:
        PayloadTooLargeError: If the server would not take it; nothing was sent.
        DeliveryError: If the server refused it, or gave no answer in time.
        ConnectionFailedError: If there is no connection.
    """
    headers = encode_block({"sender": str(pair.public)})
    if xkm1:
        sealed = Sealer(pair).seal(data, to=recipients, subject=subject)
    else:
        sealed = pair.seal(data, recipients[0])
    async with open_link(options) as link:
        await link.publish(subject, sealed, headers=headers)
        await link.confirm()
    return len(headers) + len(sealed)
