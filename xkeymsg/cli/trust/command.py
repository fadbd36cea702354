"""`xkeymsg trust VERB`."""

from __future__ import annotations

from typing import Final

import click

from xkeymsg.cli.lazy import LazyGroup

__all__ = ("trust",)

_PACKAGE: Final = "xkeymsg.cli.trust"
_LAZY: Final = {
    "init": f"{_PACKAGE}.create",
    "add-signing-key": f"{_PACKAGE}.create:add_signing_key",
    "add-account": f"{_PACKAGE}.create:add_account",
    "add-user": f"{_PACKAGE}.create:add_user",
    "certify": f"{_PACKAGE}.create",
    "edit-user": f"{_PACKAGE}.change:edit_user",
    "revoke": f"{_PACKAGE}.change",
    "forget": f"{_PACKAGE}.change",
    "remove-signing-key": f"{_PACKAGE}.remove:remove_signing_key",
    "describe": f"{_PACKAGE}.describe",
    "verify": f"{_PACKAGE}.describe",
    "export": f"{_PACKAGE}.export",
    "push": f"{_PACKAGE}.push",
}


@click.group(cls=LazyGroup, lazy=_LAZY, short_help="Issue and check NATS JWTs and certificates.")
def trust() -> None:
    """Issue, change and check NATS JWTs and xkey certificates, in an operator's folder.

    Everything in the folder is public. Seeds and credentials are in --keys; verifying needs none
    of them.
    """
