"""What is said of a document that is none does not repeat what is in it: it goes to logs."""

from __future__ import annotations

import pytest

from xkeymsg.daemon.documents import parse_document
from xkeymsg.errors import EnvelopeError


@pytest.mark.parametrize(
    "text",
    [
        '{"Jane Doe":1,"Jane Doe":2}',
        '{"Jane Doe":1,}',
        '{"Jane Doe":NaN}',
        '{"Jane Doe"',
        '["Jane Doe",1e999]',
        '"Jane Doe',
        '"Jane Doe" Jane Doe',
        "[" * 100_000 + '"Jane Doe"',
    ],
    ids=lambda text: text[:24],
)
def test_an_error_repeats_nothing_of_a_document(text: str) -> None:
    with pytest.raises(EnvelopeError) as caught:
        parse_document(text.encode())
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "Jane" not in str(seen)
        assert "Jane" not in repr(seen)
        seen = seen.__cause__ or seen.__context__
