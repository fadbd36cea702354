"""Who may open which parts of a document (spec, "Views")."""

from __future__ import annotations

from collections.abc import Mapping

from xkeymsg.keys import Recipient

__all__ = ("Sharing",)


class Sharing:
    """Recipients with the parts that they may open: one view for each set of parts.

    Immutable, so that it can be kept and serve for all documents that are shared alike.
    """

    __slots__ = ("_numbers", "recipients", "views")

    def __init__(self, readers: Mapping[Recipient, frozenset[int]], parts: int) -> None:
        """Take who may open which of so many parts; nobody is there who may open none."""
        self.recipients = tuple(readers)
        # A document of one part has no views.
        sets = list(dict.fromkeys(readers.values())) if parts > 1 else []
        self.views = tuple(tuple(sorted(granted)) for granted in sets)
        """The numbers of the parts in each view, ascending."""
        numbers = {granted: number for number, granted in enumerate(sets)}
        self._numbers = {one: numbers.get(granted, 0) for one, granted in readers.items()}

    def order(self, recipients: tuple[Recipient, ...]) -> tuple[int, ...]:
        """Return the number of each recipient's view."""
        return tuple(self._numbers[one] for one in recipients)
