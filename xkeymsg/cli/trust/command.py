"""`xkeymsg trust VERB`."""

from __future__ import annotations

import re
from typing import Final

import click

from xkeymsg.cli.lazy_group import LazyGroup
from xkeymsg.errors import ConfigurationError
from xkeymsg.nkey import is_seed

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
    "share-directory": f"{_PACKAGE}.share_directory:share_directory",
    "export": f"{_PACKAGE}.export",
    "push": f"{_PACKAGE}.push",
}


_WORD: Final = re.compile(r"[A-Za-z2-7]+")


class _Verbs(LazyGroup):
    """Refuses a secret seed in any argument: other users can see it, and errors would repeat it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any(is_seed(word) for each in args for word in _WORD.findall(each)):
            raise ConfigurationError(
                "an argument is a secret seed, which other users can see: give its file, or - for"
                " stdin, to -K; and replace this key"
            )
        return super().parse_args(ctx, args)


@click.group(cls=_Verbs, lazy=_LAZY, short_help="Issue and check NATS JWTs and certificates.")
def trust() -> None:
    """Issue, change and check NATS JWTs and xkey certificates, in an operator's folder.

    Everything in the folder is public. Seeds and credentials are in --keys; verifying needs none
    of them.
    """
