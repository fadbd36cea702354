"""The section of the own key, which opens the keys as it is read, and of their rotation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    model_validator,
)

from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.common.values import (
    Duration,
    SeedPath,
    Text,
    UserName,
)
from xkeymsg.errors import KeyStoreError, PinError, XKeyMsgError
from xkeymsg.key_stores.opening import list_keys, open_key, open_keys
from xkeymsg.key_stores.store_keys import StoreKeyPair
from xkeymsg.keys import XKeyPair
from xkeymsg.nkey import Signer
from xkeymsg.trust.stores.file import read_seed
from xkeymsg.trust.stores.published_entry import MOST_CERTIFICATES

__all__ = ("KeySection", "OpenedKeys", "rotation_faults")

_DAY: Final = 86_400


def _past(day: date) -> date:
    if day > datetime.now(UTC).date():
        raise ValueError("expected a date that is not in the future")
    return day


class OpenedKeys:
    """Opened keys, and how to read their section again."""

    def __init__(self, pairs: Sequence[XKeyPair] = (), stored: int = 0) -> None:
        self.pairs = tuple(pairs)
        self.stored = stored
        """How many of them, the first ones, are in `key_store`."""
        self.signer: Signer | None = None
        self.reread: Callable[[], KeySection] | None = None


class KeySection(Section):
    """The daemon's own key."""

    seed_file: SeedPath | None = None
    """A file with the seed `SX…`, mode 0600."""
    key_store: Text | None = None
    """A key store instead of a file: `PROVIDER` or `PROVIDER:ADDRESS`, such as `systemd:xkey`."""
    key_match_by: Text | None = None
    """With `key_store`: what `key_match` is; by default, the address in the store."""
    key_match: Text | None = None
    """With `key_store`: which key (exact match)."""
    retired: tuple[SeedPath, ...] = ()
    """Retired key files, newest first; messages sealed to them can still be opened."""
    retired_stores: tuple[Text, ...] = ()
    """Key stores with retired keys, tried after the files."""
    user: UserName | None = None
    """The user nkey `U…` that peers bind to this key, if any."""
    created: Annotated[date, AfterValidator(_past)] | None = None
    """The date the key was created, for the key age metric; default: when its file was written."""
    rotation: Literal["self", "follow"] | None = None
    """Certificates decide which key is current; requires `directory`. "self": this daemon makes,
    certifies, publishes and deletes the keys in `key_store`; "follow": another program does."""
    interval: Annotated[Duration, Field(le=21 * _DAY)] = 14.0 * _DAY
    """With `rotation = "self"`: how long a key is current, such as "14d"."""
    lead: Duration = 600.0
    """With `rotation = "self"`: how long a new key is published before it becomes current, so that
    senders and replicas have it in time."""
    retain: Duration = 90.0 * _DAY
    """With `rotation = "self"`: the minimum time to keep a retired key; at least the `max_age` of
    the streams that are read, and at most 24 times `interval`."""
    _opened: OpenedKeys = PrivateAttr(default_factory=OpenedKeys)

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Require exactly one key."""
        if "seed_file" in table and "key_store" in table:
            yield "seed_file", "'seed_file' and 'key_store' may not both be configured"
        if not {"seed_file", "key_store"} & table.keys():
            yield "seed_file", "expected seed_file or key_store"
        for key in sorted({"key_match", "key_match_by"} & table.keys()):
            if "key_store" not in table:
                yield key, "requires key_store"
        yield from cls._of_rotation(table)

    @classmethod
    def _of_rotation(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        rotation = table.get("rotation")
        if rotation == "self" and "key_store" not in table:
            yield "rotation", '"self" requires key_store: a folder, or a label on a token'
        for key in sorted({"key_match", "key_match_by"} & table.keys()):
            if rotation is not None:
                yield key, "rotation uses all keys of the store"
        for key in sorted({"interval", "lead", "retain"} & table.keys()):
            if rotation != "self":
                yield key, 'requires rotation = "self"'

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.lead > self.interval / 2:
            raise ValueError("lead must be at most half of interval")
        if self.retain > MOST_CERTIFICATES * self.interval:
            raise ValueError(
                f"retain must be at most {MOST_CERTIFICATES} times interval: no more certificates"
                " fit into an entry of the directory"
            )
        return self

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        """Open the keys; the program starts with them, so that a store is read only once."""
        try:
            self._opened = self._open()
        except PinError:
            raise  # it ends the program with its own exit code
        except XKeyMsgError as error:
            raise ValueError(str(error)) from None
        return self

    def open(self) -> tuple[XKeyPair, ...]:
        """Return the active key and the retired ones, as opened when the section was read.

        The owner of an empty store gets a key that is in no store: it makes its first before use.

        Raises:
            KeyStoreError: If a key cannot be read.
        """
        return self.opened().pairs or (XKeyPair.generate(),)

    def close(self) -> None:
        """Forget the opened keys."""
        self._opened.pairs, self._opened.signer = (), None

    def opened(self) -> OpenedKeys:
        """Return the keys as opened when the section was read; none if the store is empty.

        Raises:
            KeyStoreError: If a key cannot be read.
        """
        if not self._opened.pairs:
            opened = self._open()
            opened.reread, self._opened = self._opened.reread, opened
        return self._opened

    def reread_with(self, reread: Callable[[], KeySection]) -> None:
        """Set what reads this section again; without it, only its keys are."""
        self._opened.reread = reread

    def reread(self) -> KeySection:
        """Return this section as it is now, with its keys opened again.

        Raises:
            ConfigurationError: If the section is invalid, or a key cannot be read.
            KeyStoreError: If a key cannot be read.
        """
        reread = self._opened.reread
        if reread is None:
            section: KeySection = self.model_copy()
            section._opened = section._open()
            return section
        section = reread()
        section.reread_with(reread)
        return section

    def open_all(self) -> OpenedKeys:
        """Return all keys, opened again; with `rotation`, their order says nothing.

        Raises:
            KeyStoreError: If a key cannot be read.
        """
        return KeySection._open(self)  # without a signing key

    def _open(self) -> OpenedKeys:
        """Open the keys; all that match in `key_store` open messages, and the first one seals."""
        own: Sequence[XKeyPair]
        if self.rotation is not None and self.key_store is not None:
            keys = [key for key in list_keys(self.key_store) if key.public().startswith("X")]
            own = [StoreKeyPair(key) for key in keys]
        elif self.key_store is not None:
            own = open_keys(self.key_store, match_by=self.key_match_by, match=self.key_match)
        elif self.seed_file is not None:
            own = [read_seed(self.seed_file)]
        else:
            raise KeyStoreError("expected seed_file or key_store")
        retired = [read_seed(path) for path in self.retired]
        pairs = [*own, *retired, *map(open_key, self.retired_stores)]
        if not pairs and self.rotation != "self":
            raise KeyStoreError("unable to find key in store")
        return OpenedKeys(pairs, len(own) if self.key_store is not None else 0)


def rotation_faults(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a configuration with `rotation` lacks."""
    tables = {name: table.get(name) for name in ("key", "trust", "nats")}
    key, trust, nats = (each if isinstance(each, Mapping) else {} for each in tables.values())
    if key.get("rotation") is not None:
        if trust.get("directory") is not True:
            yield "key", "rotation requires directory = true in [trust]"
        if "creds" not in nats:
            yield "key", "rotation requires creds in [nats]: their user signs the certificates"
