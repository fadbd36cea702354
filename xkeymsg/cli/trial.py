"""Sealing a document to throwaway keys: whether a policy lets it be sealed at all."""

from __future__ import annotations

from typing import Any

from xkeymsg.fields.policy import Policy
from xkeymsg.keys import XKeyPair
from xkeymsg.sealer import Sealer

__all__ = ("try_to_seal",)


def try_to_seal(document: Any, policy: Policy) -> None:
    """Seal a document with one reader for each permission, and drop the result.

    Raises:
        XKeyMsgError: If it cannot be sealed.
    """
    readers = {name: [XKeyPair.generate().public] for name in sorted(policy.permissions)}
    Sealer(XKeyPair.generate()).seal_document(
        document, policy=policy, readers=readers, subject="trial"
    )
