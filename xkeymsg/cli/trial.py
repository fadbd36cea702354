"""Trial sealing with throwaway keys, to check that a policy accepts a document."""

from __future__ import annotations

from typing import Any

from xkeymsg.fields.policy import Policy
from xkeymsg.keys import XKeyPair
from xkeymsg.sealer import Sealer

__all__ = ("try_to_seal",)


def try_to_seal(document: Any, policy: Policy) -> None:
    """Seal a document for one reader per permission, and discard the result.

    Raises:
        XKeyMsgError: If it cannot be sealed.
    """
    readers = {name: [XKeyPair.generate().public] for name in sorted(policy.permissions)}
    Sealer(XKeyPair.generate()).seal_document(
        document, policy=policy, readers=readers, subject="trial"
    )
