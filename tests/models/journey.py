"""The journey of a model: policy, document, envelope, view, model."""

from __future__ import annotations

from typing import Annotated, Any

from xkeymsg import Opener, Policy, Readers, Sealer, View, XKeyPair, document_of

ALL = Readers("all")
ALICE, BOB = XKeyPair.generate(), XKeyPair.generate()


def opened(document: Any, policy: Policy | None = None) -> View:
    """A document as its reader sees it."""
    sealed = Sealer(ALICE).seal_document(
        document,
        policy=policy or Policy([("", ["all"])]),
        readers={"all": [BOB.public]},
        subject="s",
    )
    return Opener(BOB, senders={ALICE.public}).open_document(sealed, subject="s")


def there_and_back(instance: Any, model: Any = None) -> Any:
    """An instance that was sealed under the policy of its model and read back."""
    model = model or type(instance)
    return opened(document_of(instance), Policy.of(model)).into(model)


def for_all(hint: Any) -> Any:
    """An annotation that everybody may read."""
    return Annotated[hint, ALL]
