"""Types of configuration values, each validated when it is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from xkeymsg import nkey
from xkeymsg.daemons.common.parameters import seconds_of
from xkeymsg.errors import XKeyMsgError
from xkeymsg.fields.policy import Policy
from xkeymsg.text import path_text
from xkeymsg.transport.credentials import read_user_key
from xkeymsg.transport.subjects import is_written_pattern, is_written_subject
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.stores.file import read_seed

__all__ = (
    "Count",
    "Duration",
    "FilePath",
    "Flag",
    "Folder",
    "Name",
    "Pattern",
    "PeersPath",
    "PolicyPath",
    "Seconds",
    "SeedPath",
    "SignerPath",
    "Subject",
    "Text",
    "UserName",
)


def _path(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a file name")
    if nkey.is_public(value):
        raise ValueError("expected a file name, not a public key")
    if nkey.is_seed(value) or not value.isprintable():
        raise ValueError("expected a file name, not a secret: write the secret to a file")
    return (info.context or {}).get("folder", Path()) / value


def _checked(path: Path, check: Any) -> Path:
    try:
        check(path)
    except XKeyMsgError as error:
        raise ValueError(str(error)) from None
    return path


def _is_folder(path: Path) -> Path:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ValueError(
            f"{path_text(path)}: {error.strerror}; expected an existing folder"
        ) from None
    if not stat.S_ISDIR(mode):
        raise ValueError(f"{path}: expected a folder")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"{path}: expected a writable folder")
    return path


def _subject(text: str) -> str:
    if not is_written_subject(text):
        raise ValueError("expected a subject: tokens of printable ASCII between dots, no * or >")
    return text


def _pattern(text: str) -> str:
    if not is_written_pattern(text):
        raise ValueError("expected a NATS subject, or a pattern with * and >")
    return text


def _user(text: str) -> str:
    try:
        nkey.decode_public(nkey.Prefix.USER, text)
    except XKeyMsgError as error:
        raise ValueError(str(error)) from None
    return text


def _duration(value: Any) -> Any:
    seconds = seconds_of(value) if isinstance(value, str) else value
    if seconds is None:
        raise ValueError('expected a duration like "14d", or a number of seconds')
    return seconds


Text = Annotated[str, Field(strict=True, min_length=1)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400, allow_inf_nan=False)]
Duration = Annotated[
    float, BeforeValidator(_duration), Field(gt=0, le=3650 * 86_400, allow_inf_nan=False)
]
Name = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""A name that is used as a metric label."""
Subject = Annotated[Text, AfterValidator(_subject)]
Pattern = Annotated[Text, AfterValidator(_pattern)]
UserName = Annotated[Text, AfterValidator(_user)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Folder = Annotated[FilePath, AfterValidator(_is_folder)]
SeedPath = Annotated[FilePath, AfterValidator(lambda path: _checked(path, read_seed))]
SignerPath = Annotated[FilePath, AfterValidator(lambda path: _checked(path, read_user_key))]
PeersPath = Annotated[FilePath, AfterValidator(lambda path: _checked(path, Peers.load))]
PolicyPath = Annotated[FilePath, AfterValidator(lambda path: _checked(path, Policy.load))]
