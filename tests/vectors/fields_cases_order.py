"""The order of checks: F-29."""

from __future__ import annotations

from tests.reference.encoding import array, string
from tests.vectors.fields_builder import each, refused, root
from tests.vectors.fields_cases_form import WHOLE, nested
from tests.vectors.fields_vector import Vector

TOO_MANY = b"\xdd\x00\x0f\x42\x41"  # the header of an array of 1,000,001 items


@each(
    before_an_ill_formed_text=("F-24", root(array([TOO_MANY, string(b"\xff")]))),
    depth_before_what_does_not_fit=("F-23", root(nested(32, b"\xdc\xff\xff"))),
    fields_before_a_pair_that_is_none=("F-25", b"\xdc\x27\x11\xc0"),
)
def order_limit(form: tuple[str, bytes]) -> Vector:
    """From left to right; on one object, the limit before what it announces."""
    rule, plaintext = form
    return refused("limit_exceeded", "F-29", rule, of=[plaintext])


@each(
    text_before_a_limit=("F-11", root(array([string(b"\xff"), TOO_MANY]))),
    name_before_a_limit=("F-10", root(b"\x82\xa1a\x01\xa1a" + TOO_MANY)),
    type_before_a_limit=("F-20", b"\x91\x92\xdf" + TOO_MANY[1:]),
    length_of_a_pair_before_a_limit=("F-20", b"\x91" + TOO_MANY),
    truncated_length_before_a_limit=("F-22", root(TOO_MANY[:-1])),
    what_does_not_fit_before_a_limit=("F-26", root(b"\x98" + TOO_MANY)),
    index_before_the_depth_of_the_value=("F-20", b"\x91\x92\x91\xff" + nested(40)),
    fixed_length_before_what_does_not_fit=("F-17", root(b"\xc9\xff\xff\xff\xff\x03")),
    code_before_what_does_not_fit=("F-8", root(b"\xc9\xff\xff\xff\xff\x05")),
    name_that_is_none_before_a_limit=("F-9", root(b"\x81" + TOO_MANY)),
)
def order_malformed(form: tuple[str, bytes]) -> Vector:
    """From left to right; on one object, type and fixed length before limits."""
    rule, plaintext = form
    return refused("malformed", "F-29", rule, of=[plaintext])


def order_pairs_that_do_not_fit_before_a_limit() -> Vector:
    """More pairs are announced than there are bytes left; the first has too many values."""
    return refused("malformed", "F-29", "F-26", of=[b"\x9f\x92\x90" + TOO_MANY])


def order_members_that_do_not_fit_before_a_limit() -> Vector:
    """Two members need four bytes and three are left; the value of the first is too deep."""
    return refused("malformed", "F-29", "F-26", of=[root(b"\x82\xa0\x90\xa0")], limit_depth=1)


def order_limit_where_pairs_just_fit() -> Vector:
    """As many pairs are announced as there are bytes left; the path of the first is too long."""
    return refused("limit_exceeded", "F-29", "F-23", of=[b"\x93\x92\x9f\x00"], limit_depth=10)


def order_pair_that_does_not_fit_before_a_limit() -> Vector:
    """One byte is left for the two items of a pair: the header of a path that is too long."""
    return refused("malformed", "F-29", "F-26", of=[b"\x91\x92\x9f"], limit_depth=10)


def order_no_pairs_before_a_limit() -> Vector:
    """The length of an outer array is checked before the nodes: it has at least one pair."""
    return refused("malformed", "F-29", "F-21", of=[root(b"\xc0"), b"\x90"], limit_nodes=4)


def order_empty_plaintext_before_a_limit() -> Vector:
    """A plaintext of 0 bytes has no pairs."""
    return refused("malformed", "F-29", "F-21", of=[root(b"\xc0"), b""], limit_nodes=4)


def order_of_parts_malformed_first() -> Vector:
    """The plaintexts are read in ascending order: the first is cut short, the second too deep."""
    return refused("malformed", "F-29", "F-22", of=[WHOLE[:-1], root(nested(33))])


def order_of_parts_limit_first() -> Vector:
    """The first is too deep, the second cut short."""
    return refused("limit_exceeded", "F-29", "F-23", of=[root(nested(33)), WHOLE[:-1]])


def order_end_of_a_part_before_the_next() -> Vector:
    """Whether something follows is looked at before the next plaintext is."""
    return refused("malformed", "F-29", "F-22", of=[WHOLE + b"\x00", root(nested(33))])
