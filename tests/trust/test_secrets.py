"""No argument of trust in chains repeats a secret that is put into it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.test_secrets import PASTED, attempt
from tests.trust.store import Store
from xkeymsg import ConfigurationError, Trust, XKeyPair
from xkeymsg.trust.stores.marks_file import MarksFile, forget_marks, read_marks

_Use = Callable[[Store, str], object]


def load(store: Store, folder: str | None = None, **more: Any) -> Trust:
    given = {"anchor": store.operator.public, "account": store.account.public} | more
    return Trust.load(store.folder if folder is None else folder, **given)


USES: dict[str, _Use] = {
    "folder": load,
    "anchor": lambda store, secret: load(store, anchor=secret),
    "account": lambda store, secret: load(store, account=secret),
    "creds": lambda store, secret: load(store, creds=secret),
    "marks": lambda store, secret: load(store, marks=secret).close(),
    "alias": lambda store, secret: load(store, accounts={secret: store.account.public}),
    "other account": lambda store, secret: load(store, accounts={"other": secret}),
    "pinned name": lambda store, secret: load(store, pins={secret: "U"}),
    "pinned user": lambda store, secret: load(store, pins={"alice": secret}),
    "name": lambda store, secret: load(store).resolve(secret),
    "permission": lambda store, secret: load(store).resolve(f"perm:{secret}"),
    "signers": lambda store, secret: load(store).valid_signers(secret),
    "own user": lambda store, secret: load(store).check_own(XKeyPair(bytes(32)).public, secret),
    "file of marks": lambda store, secret: forget_marks(secret, [store.account.public]),
    "forgotten": lambda _, secret: forget_marks("marks.json", [secret]),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_arguments_are_not_repeated(
    use: _Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "HOSPITAL")
    store.add("alice")
    for secret in PASTED.values():
        attempt(partial(use, store, secret))


def test_marks_that_cannot_be_reached_are_not_taken_for_empty_ones(tmp_path: Path) -> None:
    """Otherwise every rollback is permitted. A path below a file stands for a forbidden folder."""
    (tmp_path / "file").touch()
    for use in (read_marks, MarksFile):
        with pytest.raises(ConfigurationError, match="Not a directory"):
            use(tmp_path / "file" / "marks.json")
