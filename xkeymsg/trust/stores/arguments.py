"""Checks of the arguments of `Trust.load`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from xkeymsg.display import listed
from xkeymsg.errors import ConfigurationError, KeyFormatError
from xkeymsg.keys import decode_user
from xkeymsg.nkey import Prefix, decode_public
from xkeymsg.trust.names import is_name
from xkeymsg.trust.stores.folder import ClaimsFolder

__all__ = ("checked_accounts", "checked_pins", "only_account")

_ALIAS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def only_account(source: ClaimsFolder) -> str:
    """Return the only account of a folder, apart from the system account.

    Raises:
        ConfigurationError: If there is not exactly one.
    """
    source.scan()
    if source.operator is None:
        fault = next(iter(source.faults.values()), None)
        raise fault or ConfigurationError(f"{source.path}: no operator JWT")
    system = source.operator.claims.nats.get("system_account")
    found = sorted(key for key in source.known if key != system)
    if len(found) != 1:
        names = f": {listed(found[:8], len(found))}" if found else ""
        raise ConfigurationError(
            f"{source.path}: found {len(found)} accounts{names}; give the own one as account, or"
            " by creds"
        )
    return found[0]


def checked_accounts(account: str, others: Mapping[str, str]) -> dict[str, str]:
    """Return all accounts by alias; the own one is "".

    Raises:
        ConfigurationError: If an alias is invalid, or an account is listed twice.
        KeyFormatError: If a key is invalid.
    """
    decode_public(Prefix.ACCOUNT, account)
    for alias, key in others.items():
        if not (_ALIAS.fullmatch(alias) and is_name(alias)):
            raise ConfigurationError("accounts: an alias has 1 to 64 letters, digits, . _ and -")
        try:
            decode_public(Prefix.ACCOUNT, key)
        except KeyFormatError as error:
            raise KeyFormatError(f"accounts.{alias}: {error}") from None
    keys = {"": account, **others}
    if len(set(keys.values())) < len(keys):
        raise ConfigurationError("accounts: an account is listed twice")
    return keys


def checked_pins(pins: Mapping[str, str], accounts: Mapping[str, str]) -> dict[str, str]:
    """Return the pins.

    Raises:
        ConfigurationError: If a name is invalid.
        KeyFormatError: If a key is invalid.
    """
    for name, user in pins.items():
        alias, _, own = name.rpartition("/")
        if alias not in accounts or not own or name.startswith("perm:"):
            raise ConfigurationError("pins: expected NAME, or ALIAS/NAME of a configured account")
        try:
            decode_user(user)
        except KeyFormatError as error:
            raise KeyFormatError(f"pins: {error}") from None
    return dict(pins)
