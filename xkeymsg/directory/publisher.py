"""Writes entries by compare-and-set, and reads them back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from xkeymsg.client.jetstream.api import API, EXPECTED_LAST, WRONG_LAST, parse_puback
from xkeymsg.directory.entries import OwnEntry, is_ahead
from xkeymsg.directory.reader import BucketEntry, BucketReader
from xkeymsg.directory.settings import subject_of
from xkeymsg.errors import DeliveryError, TrustError
from xkeymsg.transport.headers import encode_block
from xkeymsg.trust.claims import Account
from xkeymsg.trust.jwt import Claims
from xkeymsg.trust.stores.published_entry import Place

__all__ = ("EntryPublisher",)

_ATTEMPTS: Final = 5


class EntryPublisher:
    """Publishes entries; what others have written is kept if it is valid."""

    def __init__(self, api: API, reader: BucketReader) -> None:
        self._api = api
        self._reader = reader

    async def publish(
        self, own: OwnEntry, issuers: Collection[str], *, attempts: int = _ATTEMPTS
    ) -> int:
        """Publish what is missing in the entry of a user; return its sequence.

        The sequence is 0 if there is no entry, and nothing to repair.

        Args:
            own: The entry.
            issuers: The keys that may issue the user's JWT now.
            attempts: How often to write if others write meanwhile.

        Raises:
            ConflictError: If another JWT in the entry has the same `iat`.
            DeliveryError: If the server refuses or does not answer, or others keep writing.
        """
        for _ in range(attempts):
            present = await self._reader.get(own.place)
            if present is None and own.only_repairs:
                return 0
            value = own.merged(b"" if present is None else present.value, issuers)
            if present is not None and present.value == value:
                return present.sequence
            await self._put(own.place, value, present)
        raise DeliveryError("the entry changes while it is written; try again")

    async def publish_account(self, text: str, signers: Collection[str]) -> int:
        """Publish an account JWT, unless the directory has a newer one; return the sequence.

        Args:
            text: The JWT.
            signers: The keys that may issue it.

        Raises:
            DeliveryError: If the server refuses or does not answer, or others keep writing.
            TrustError: If it is malformed.
        """
        ours = Account.decode(text).claims
        place = Place(ours.subject, "")
        for _ in range(_ATTEMPTS):
            present = await self._reader.get(place)
            if present is not None and not _replaces(ours, present.value, signers):
                return present.sequence
            await self._put(place, text.encode(), present)
        raise DeliveryError("the entry changes while it is written; try again")

    async def _put(self, place: Place, value: bytes, present: BucketEntry | None) -> None:
        """Write an entry, unless another one was written since; the caller reads it back."""
        sequence = 0 if present is None else present.sequence
        block = encode_block({EXPECTED_LAST: str(sequence)})
        raw = await self._api.link.request(
            subject_of(place), value, headers=block, timeout=self._api.timeout
        )
        try:
            parse_puback(raw.data)
        except DeliveryError as error:
            if error.err_code not in WRONG_LAST:
                raise


def _replaces(ours: Claims, present: bytes, signers: Collection[str]) -> bool:
    try:
        theirs = Account.decode(present.decode("ascii", "replace").strip()).claims
    except TrustError:
        return True
    if theirs.subject != ours.subject or theirs.issuer not in signers:
        return True
    return theirs.issued < ours.issued or is_ahead(theirs)
