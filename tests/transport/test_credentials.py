"""What a program logs in with: files are read strictly, anew each time, and never shown."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Callable
from pathlib import Path

import nkeys
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import for_each
from tests.transport.authority import Nkey, Operator
from xkeymsg.errors import ConfigurationError, KeyStoreError, XKeyMsgError
from xkeymsg.keys import XKeyPair
from xkeymsg.transport.credentials import login
from xkeymsg.transport.options import ConnectOptions

SECRET = "hunter2"
USER = Nkey()
CREDS = Operator().creds(USER)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def of_creds(folder: Path, content: str | bytes) -> ConnectOptions:
    return ConnectOptions(creds=_file(folder / "user.creds", content))


def of_nkey(folder: Path, content: str | bytes) -> ConnectOptions:
    return ConnectOptions(nkey=_file(folder / "user.nk", content))


def _file(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def shown(error: BaseException) -> str:
    """Return all that a program could print about an error."""
    return "".join(traceback.format_exception(error)) + repr(error)


def shows_a_part(text: str, seed: str) -> bool:
    """Tell whether a text holds five characters of a seed in a row, its first two aside."""
    return any(seed[i : i + 5] in text for i in range(2, len(seed) - 4))


# --- what is returned ---------------------------------------------------------------------------


@for_each(
    ("options", "arguments"),
    [
        (ConnectOptions(), {}),
        (ConnectOptions(token=SECRET), {"token": SECRET}),
        (ConnectOptions(user="ada", password=SECRET), {"user": "ada", "password": SECRET}),
        (ConnectOptions(user="ada"), {"user": "ada", "password": ""}),
    ],
    ids=["nothing", "token", "password", "no password"],
)
def test_a_login_without_a_file_is_passed_on(
    options: ConnectOptions, arguments: dict[str, str]
) -> None:
    assert login(options) == arguments


def test_an_nkey_signs_a_nonce_and_names_its_public_key(tmp_path: Path) -> None:
    arguments = login(of_nkey(tmp_path, USER.seed))

    assert arguments.keys() == {"public_nkey", "signature_cb"}
    assert arguments["public_nkey"]() == USER.public
    USER.verify(b"nonce", arguments["signature_cb"]("nonce").decode())


def test_credentials_sign_a_nonce_and_name_their_jwt(tmp_path: Path) -> None:
    arguments = login(of_creds(tmp_path, CREDS))

    assert arguments.keys() == {"user_jwt_cb", "signature_cb"}
    assert arguments["user_jwt_cb"]().decode() == CREDS.splitlines()[1]
    USER.verify(b"nonce", arguments["signature_cb"]("nonce").decode())


FORMS: dict[str, Callable[[str], str]] = {
    "line feeds": lambda text: text,
    "CR LF": lambda text: text.replace("\n", "\r\n"),
    "spaces at the ends of lines": lambda text: text.replace("\n", "  \n"),
    "words before and behind": lambda text: f"a comment\n{text}\nanother\n",
    "no end of the last line": lambda text: text.rstrip("\n"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_credentials_may_be_written_with(form: Callable[[str], str], tmp_path: Path) -> None:
    arguments = login(of_creds(tmp_path, form(CREDS)))

    assert arguments["user_jwt_cb"]().decode() == CREDS.splitlines()[1]
    USER.verify(b"nonce", arguments["signature_cb"]("nonce").decode())


@pytest.mark.parametrize("form", ["{}", "{}\n", "\n {} \r\n"])
def test_an_nkey_may_be_written_with(form: str, tmp_path: Path) -> None:
    assert login(of_nkey(tmp_path, form.format(USER.seed)))["public_nkey"]() == USER.public


def test_a_renewed_file_is_read_at_the_next_login(tmp_path: Path) -> None:
    arguments, new = login(of_creds(tmp_path, CREDS)), Nkey()
    of_creds(tmp_path, Operator().creds(new))

    new.verify(b"nonce", arguments["signature_cb"]("nonce").decode())


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("of", [of_creds, of_nkey])
@settings(deadline=None)
@given(position=st.integers(0, 57), other=st.sampled_from(ALPHABET))
def test_one_mistyped_character_of_a_seed_is_refused_and_nothing_of_it_shown(
    of: Callable[[Path, str], ConnectOptions],
    tmp_path_factory: pytest.TempPathFactory,
    position: int,
    other: str,
) -> None:
    seed = USER.seed[:position] + other + USER.seed[position + 1 :]
    if seed == USER.seed:
        return
    text = seed if of is of_nkey else CREDS.replace(USER.seed, seed)
    with pytest.raises(ConfigurationError) as caught:
        login(of(tmp_path_factory.mktemp("login"), text))

    assert not shows_a_part(shown(caught.value), seed)


def test_the_nkeys_package_takes_a_mistyped_seed_for_another_key() -> None:
    """Why seeds go through our own decoder first."""
    other = "A" if USER.seed[20] != "A" else "B"
    mistyped = nkeys.from_seed(bytearray(USER.seed[:20] + other + USER.seed[21:], "ascii"))

    assert mistyped.public_key.decode() != USER.public


SEEDS: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "half a seed": lambda: USER.seed[:30],
    "one character more": lambda: USER.seed + "A",
    "lower case": USER.seed.lower,
    "two lines": lambda: USER.seed[:29] + "\n" + USER.seed[29:],
    "the seed of an account": lambda: Nkey(nkeys.PREFIX_BYTE_ACCOUNT).seed,
    "the seed of an xkey": lambda: XKeyPair.generate().seed(),
    "a public key": lambda: USER.public,
    "letters that are not ASCII": lambda: "é" * 58,
}


@pytest.mark.parametrize("of", [of_creds, of_nkey])
@pytest.mark.parametrize("make", SEEDS.values(), ids=SEEDS)
def test_what_is_no_seed_of_a_user_is_refused_and_nothing_of_it_shown(
    make: Callable[[], str], of: Callable[[Path, str], ConnectOptions], tmp_path: Path
) -> None:
    seed = make()
    text = seed if of is of_nkey else CREDS.replace(USER.seed, seed)
    with pytest.raises(ConfigurationError) as caught:
        login(of(tmp_path, text))

    assert str(tmp_path) in str(caught.value)
    assert not shows_a_part(shown(caught.value), seed)


CUT = {
    "nothing": ("", "USER JWT"),
    "words": ("hello\nworld\n", "USER JWT"),
    "only the seed": (CREDS[CREDS.index("-----BEGIN USER NKEY") :], "USER JWT"),
    "only the JWT": (CREDS[: CREDS.index("-----BEGIN USER NKEY")], "USER NKEY SEED"),
    "an empty JWT": ("-----BEGIN NATS USER JWT-----\n\n", "USER JWT"),
    "nothing behind the seed's line": (
        CREDS[: CREDS.index("-----BEGIN USER NKEY")] + "-----BEGIN USER NKEY SEED-----",
        "USER NKEY SEED",
    ),
}


@pytest.mark.parametrize(("content", "missing"), CUT.values(), ids=CUT)
def test_credentials_that_lack_a_part_are_refused(
    content: str, missing: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=f"{missing} is missing") as caught:
        login(of_creds(tmp_path, content))

    assert not shows_a_part(shown(caught.value), USER.seed)


@pytest.mark.parametrize("of", [of_creds, of_nkey])
def test_a_seed_with_a_byte_that_is_not_text_is_refused(
    of: Callable[[Path, bytes], ConnectOptions], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"USER JWT is missing|58 characters") as caught:
        login(of(tmp_path, USER.seed.encode() + b"\xff"))

    assert not shows_a_part(shown(caught.value), USER.seed)


@pytest.mark.parametrize("of", [of_creds, of_nkey])
def test_a_file_that_cannot_be_read_is_refused_at_once(
    of: Callable[[Path, str], ConnectOptions], tmp_path: Path
) -> None:
    options = of(tmp_path, "")
    [path] = tmp_path.iterdir()
    path.unlink()
    with pytest.raises(KeyStoreError, match="No such file or directory"):
        login(options)
    path.mkdir()
    with pytest.raises(KeyStoreError, match="Is a directory"):
        login(options)


@settings(deadline=None)
@given(content=st.binary(max_size=200))
def test_any_file_is_refused_with_an_error_of_ours(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("login")
    for options in (of_creds(folder, content), of_nkey(folder, content)):
        with pytest.raises(XKeyMsgError):
            login(options)


def test_a_file_that_turns_bad_later_is_refused_then(tmp_path: Path) -> None:
    arguments = login(of_creds(tmp_path, CREDS))
    of_creds(tmp_path, "")

    with pytest.raises(ConfigurationError):
        arguments["signature_cb"]("nonce")


def test_no_callback_shows_the_seed(tmp_path: Path) -> None:
    raw = base64.b32decode(USER.seed + "======")[2:34]
    for options in (of_creds(tmp_path, CREDS), of_nkey(tmp_path, USER.seed)):
        for value in login(options).values():
            text = repr(value) + repr(getattr(value, "__self__", None))
            assert not shows_a_part(text, USER.seed)
            assert raw.hex() not in text
