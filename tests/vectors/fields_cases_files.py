"""Files of policies and readers: F-30, F-34, F-36 to F-39."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from json import dumps as quoted

from tests.reference import crypto, nkeystring
from tests.vectors.fields_builder import each, vector
from tests.vectors.fields_vector import Vector
from tests.vectors.people import BOB, CAROL

RULE = '[[rule]]\npattern = "/**"\nreaders = ["clinic"]\n'
SECOND = '\n[[rule]]\npattern = "/a"\nreaders = ["billing"]\n'
THIRD = '\n[[rule]]\npattern = "/b"\nreaders = ["billing"]\n'


def read(
    file: str,
    *spec: str,
    rules: Sequence[tuple[str, str | list[str]]],
    unread: tuple[str, ...] = (),
) -> Vector:
    shown = [f"{names} {quoted(pattern)}" for names, pattern in rules]
    return vector("policy", "success", spec, file, rule=shown, allow_unread=list(unread))


def invalid(file: str, *spec: str, line: int | None = None, number: int | None = None) -> Vector:
    return vector("policy", "policy_invalid", spec, file, line=line, number=number)


# --- policies


def policy_of_the_specification() -> Vector:
    """The example of the specification, comments included."""
    file = (
        'allow_unread = ["archive"]                # optional, before the first rule\n\n'
        '[[rule]]\npattern = "/patient/name"\nreaders = ["billing", "clinic"]\n\n'
        '[[rule]]\npattern = "/**"\nreaders = ["clinic", "archive"]\n'
    )
    rules = [("billing,clinic", "/patient/name"), ("archive,clinic", "/**")]
    return read(file, "F-37", rules=rules, unread=("archive",))


def smallest_policy() -> Vector:
    """One rule."""
    return read(RULE, "F-37", rules=[("clinic", "/**")])


def permission_named_twice() -> Vector:
    """It counts once."""
    file = '[[rule]]\npattern = "/**"\nreaders = ["x", "y", "x"]\n'
    return read(file, "F-37", rules=[("x,y", "/**")])


def every_character_of_a_permission() -> Vector:
    """Letters, digits, dot, underscore and hyphen, in any place."""
    name = "-._az09"
    file = f'[[rule]]\npattern = ""\nreaders = ["{name}", ".", "0"]\n'
    return read(file, "F-34", rules=[(f"{name},.,0", "")])


def policy_in_other_toml() -> Vector:
    """Literal strings, escapes, inline comments, arrays over several lines, quoted keys."""
    file = (
        "# a policy\n\n[[ rule ]]\n\"pattern\" = '/a~0\\b'  # literal\nreaders = [\n  'x',\n]\n"
        '[[rule]]\nreaders = ["y"]\npattern = "/\\u00e9x"\n'
    )
    return read(file, "F-37", rules=[("x", "/a~0\\b"), ("y", "/\u00e9x")])


def allow_unread_that_is_empty() -> Vector:
    """Nothing is allowed to be unread."""
    return read("allow_unread = []\n" + RULE, "F-36", "F-37", rules=[("clinic", "/**")])


@each(
    unclosed_text=(3, '[[rule]]\npattern = "/**"\nreaders = ["clinic]\n\n# the end\n'),
    no_value=(2, "[[rule]]\npattern =\n" + 'readers = ["clinic"]\n'),
    bare_word=(2, "[[rule]]\npattern = all\n" + 'readers = ["clinic"]\n'),
    key_twice=(4, '[[rule]]\npattern = "/**"\n\npattern = "/a"\nreaders = ["clinic"]\n'),
    colon=(6, RULE + SECOND.replace("pattern =", "pattern:")),
    yaml=(1, "rule:\n  - pattern: /**\n    readers: [clinic]\n"),
)
def policy_is_no_toml(form: tuple[int, str]) -> Vector:
    """A syntax error has a line."""
    line, file = form
    return invalid(file, "F-37", "F-39", line=line)


@each(
    top='colour = "blue"\n' + RULE,
    version="version = 1\n" + RULE,
    rules='[[rules]]\npattern = "/**"\nreaders = ["clinic"]\n',
    allow_unread_with_a_hyphen='allow-unread = ["clinic"]\n' + RULE,
    table=RULE + "\n[policy]\n",
)
def unknown_key(file: str) -> Vector:
    """A misspelt key must not be ignored."""
    return invalid(file, "F-37")


@each(
    unknown='pattern = "/a"\nreaders = ["x"]\ncomment = "y"\n',
    allow_unread='pattern = "/a"\nreaders = ["x"]\nallow_unread = ["x"]\n',
    no_pattern='readers = ["x"]\n',
    no_readers='pattern = "/a"\n',
    reader='pattern = "/a"\nreader = ["x"]\n',
    nothing="",
    pattern_that_is_a_number='pattern = 1\nreaders = ["x"]\n',
    pattern_that_is_a_table='pattern = {a = 1}\nreaders = ["x"]\n',
    patterns_with_a_number='pattern = ["/a", 1]\nreaders = ["x"]\n',
    no_pattern_in_an_array='pattern = []\nreaders = ["x"]\n',
    readers_that_are_a_text='pattern = "/a"\nreaders = "x"\n',
    readers_with_a_number='pattern = "/a"\nreaders = ["x", 1]\n',
    readers_that_are_a_table='pattern = "/a"\nreaders = {x = true}\n',
    readers_with_an_array='pattern = "/a"\nreaders = [["x"]]\n',
)
def rule_with(lines: str) -> Vector:
    """The second rule begins on line 5."""
    return invalid(f"{RULE}\n[[rule]]\n{lines}", "F-37", "F-39", line=5, number=2)


@each(
    bad_pattern=("F-30", 'pattern = "/na*"\nreaders = ["x"]\n'),
    bad_pattern_among_others=("F-30", 'pattern = ["/b", "/c/"]\nreaders = ["x"]\n'),
    another_language=("F-30", 'pattern = "$.a"\nreaders = ["x"]\n'),
    no_permission=("F-34", 'pattern = "/a"\nreaders = []\n'),
    empty_permission=("F-34", 'pattern = "/a"\nreaders = [""]\n'),
    permission_in_upper_case=("F-34", 'pattern = "/a"\nreaders = ["x", "Clinic"]\n'),
    permission_with_a_space=("F-34", 'pattern = "/a"\nreaders = ["x y"]\n'),
    permission_with_a_comma=("F-34", 'pattern = "/a"\nreaders = ["x,y"]\n'),
    permission_with_a_line_feed=("F-34", 'pattern = "/a"\nreaders = ["x\\n"]\n'),
)
def rule_of(form: tuple[str, str]) -> Vector:
    """The third rule, on line 9: counted from 1, as the lines are."""
    rule, lines = form
    return invalid(f"{RULE}{SECOND}\n[[rule]]\n{lines}", rule, "F-39", line=9, number=3)


def first_rule_is_wrong() -> Vector:
    """The line is that on which the rule begins, not that of the pattern."""
    file = '\n\n[[rule]]\n\nreaders = ["x"]\npattern = "/na*"\n' + SECOND
    return invalid(file, "F-30", "F-39", line=3, number=1)


def rule_that_the_first_hides() -> Vector:
    """The line is that of the rule that can never match."""
    return invalid(RULE + SECOND, "F-39", "F-62", line=5, number=2)


def pattern_that_its_own_rule_hides() -> Vector:
    """Each pattern of a rule has to match something."""
    file = '[[rule]]\npattern = ["/a", "/a/b"]\nreaders = ["x"]\n' + THIRD
    return invalid(file, "F-39", "F-62", line=1, number=1)


def rule_with_several_patterns() -> Vector:
    """They stand in the order of the array, before those of later rules."""
    file = '[[rule]]\npattern = ["/a/b", "/c", \'/"d.e"\']\nreaders = ["clinic"]\n' + SECOND
    patterns: str | list[str] = ["/a/b", "/c", '/"d.e"']
    return read(file, "F-37", rules=[("clinic", patterns), ("billing", "/a")])


@each(
    nothing="",
    comment="# later\n",
    only_allow_unread='allow_unread = ["x"]\n',
)
def no_rule_in(file: str) -> Vector:
    """A policy file has rules."""
    return invalid(file, "F-37")


def empty_array_of_rules() -> Vector:
    """The key is there, and no rule."""
    return invalid("rule = []\n", "F-34")


@each(
    table='[rule]\npattern = "/**"\nreaders = ["clinic"]\n',
    text='rule = "/**"\n',
    array_of_texts='rule = ["/**"]\n',
)
def rule_is(file: str) -> Vector:
    """Rules are an array of tables."""
    return invalid(file, "F-37")


@each(
    text=("F-37", '"clinic"'),
    boolean=("F-37", "true"),
    array_with_a_number=("F-37", '["clinic", 1]'),
    not_named=("F-36", '["archive"]'),
    not_named_beside_one_that_is=("F-36", '["clinic", "archive"]'),
    no_permission=("F-36", '["Clinic"]'),
)
def allow_unread_is(form: tuple[str, str]) -> Vector:
    """The line is that of the key; there is no rule to name."""
    rule, value = form
    return invalid(f"# who reads what\nallow_unread = {value}\n\n{RULE}", rule, "F-39", line=2)


# --- readers

NOBODY = "X" + "A" * 55


def base32(text: str, edit: Callable[[bytes], bytes]) -> str:
    """Return the text of a key with other bytes."""
    return base64.b32encode(edit(base64.b32decode(text))).decode()


def reprefixed(prefix: int, raw: bytes) -> bytes:
    """Return a key with another prefix, and the right checksum."""
    return base64.b32decode(nkeystring.to_text(bytes([prefix]) + raw[1:33]))


PAIR = f"{CAROL.xkey_text} {CAROL.user_text}"


def listing(*names: str) -> str:
    return f"[{', '.join(map(quoted, names))}]"


def readers(file: str, *spec: str, expect: str = "policy_invalid") -> Vector:
    return vector("readers", expect, spec, file)


def readers_of_the_specification() -> Vector:
    """The example of the specification, with keys."""
    file = (
        f"[readers]\nclinic = {listing(BOB.xkey_text)}\nbilling = {listing(BOB.xkey_text, PAIR)}\n"
    )
    return readers(file, "F-38", expect="success")


@each(
    nobody="[readers]\nclinic = []\n",
    no_permission="[readers]\n",
    inline=f"readers = {{clinic = {listing(BOB.xkey_text)}}}\n",
    quoted_name=f'[readers]\n"a.b" = {listing(BOB.xkey_text)}\n',
    twice=f"[readers]\nclinic = {listing(BOB.xkey_text, BOB.xkey_text)}\n",
)
def readers_with(file: str) -> Vector:
    """A file of readers that is accepted."""
    return readers(file, "F-38", expect="success")


@each(
    no_toml=f"[readers]\nclinic: {listing(BOB.xkey_text)}\n",
    another_key=f"colour = 1\n[readers]\nclinic = {listing(BOB.xkey_text)}\n",
    another_table=f"[readers]\nclinic = {listing(BOB.xkey_text)}\n[writers]\n",
    no_table=f"clinic = {listing(BOB.xkey_text)}\n",
    upper_case=f"[readers]\nClinic = {listing(BOB.xkey_text)}\n",
    empty_name=f'[readers]\n"" = {listing(BOB.xkey_text)}\n',
    name_with_a_slash=f'[readers]\n"a/b" = {listing(BOB.xkey_text)}\n',
    dotted_name=f"[readers]\na.b = {listing(BOB.xkey_text)}\n",
    text=f'[readers]\nclinic = "{BOB.xkey_text}"\n',
    number="[readers]\nclinic = [1]\n",
    table=f"[readers.clinic]\nbob = {listing(BOB.xkey_text)}\n",
)
def readers_file_with(file: str) -> Vector:
    """A file of readers that is none."""
    return readers(file, "F-38")


def readers_with_a_byte_order_mark() -> Vector:
    """A leading U+FEFF is ignored."""
    return readers(
        f"\ufeff[readers]\nclinic = {listing(BOB.xkey_text)}\n", "F-38", expect="success"
    )


def readers_with_two_byte_order_marks() -> Vector:
    """Only one is."""
    return readers(f"\ufeff\ufeff[readers]\nclinic = {listing(BOB.xkey_text)}\n", "F-38")


def policy_with_a_byte_order_mark() -> Vector:
    """A leading U+FEFF is ignored."""
    return read("\ufeff" + RULE, "F-37", rules=[("clinic", "/**")])


@each(
    empty="",
    name="bob",
    bad_checksum=BOB.xkey_text[:-1] + ("A" if BOB.xkey_text[-1] != "A" else "B"),
    user_key_alone=BOB.user_text,
    two_xkeys=f"{BOB.xkey_text} {CAROL.xkey_text}",
    other_way_round=f"{CAROL.user_text} {CAROL.xkey_text}",
    two_spaces=f"{CAROL.xkey_text}  {CAROL.user_text}",
    tab=f"{CAROL.xkey_text}\t{CAROL.user_text}",
    three_keys=f"{PAIR} {BOB.user_text}",
    space_at_the_end=f"{BOB.xkey_text} ",
    space_before=f" {BOB.xkey_text}",
    line_feed_at_the_end=f"{BOB.xkey_text}\n",
    lower_case=BOB.xkey_text.lower(),
    seed=BOB.seed_text,
    cut_short=BOB.xkey_text[:-2],
    zeros=NOBODY,
    unsound_zero=nkeystring.xkey_text(bytes(32)),
    unsound_one=nkeystring.xkey_text(b"\x01" + bytes(31)),
    unsound_p=nkeystring.xkey_text(crypto.P.to_bytes(32, "little")),
    unsound_with_the_high_bit=nkeystring.xkey_text(CAROL.xkey[:31] + bytes([CAROL.xkey[31] | 128])),
    unsound_and_a_user=f"{nkeystring.xkey_text(bytes(32))} {CAROL.user_text}",
    user_of_zeros=f"{CAROL.xkey_text} {nkeystring.user_text(bytes(32))}",
    checksum_in_the_other_order=base32(BOB.xkey_text, lambda raw: raw[:33] + raw[:32:-1]),
    another_prefix=base32(BOB.xkey_text, lambda raw: reprefixed(0x90, raw)),
    account_as_user=f"{CAROL.xkey_text} {base32(CAROL.user_text, lambda raw: reprefixed(0, raw))}",
    user_cut_short=f"{CAROL.xkey_text} {CAROL.user_text[:-1]}",
    padded_with_equals=f"{BOB.xkey_text}====",
    no_base32=BOB.xkey_text[:20] + "1" + BOB.xkey_text[21:],
)
def recipient(text: str) -> Vector:
    """No recipient: R, or R and U with one space between."""
    file = f"[readers]\nclinic = {listing(BOB.xkey_text, text)}\n"
    return readers(file, "F-38", expect="key_format")
