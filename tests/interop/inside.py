"""A private function of xkv1: sealing with a given nonce, which nothing else may do."""

from __future__ import annotations

from xkeymsg import XKey, XKeyPair, xkv1


def seal_with(data: bytes, own: XKeyPair, peer: XKey, nonce: bytes) -> bytes:
    return xkv1._seal(data, own, peer, nonce)
