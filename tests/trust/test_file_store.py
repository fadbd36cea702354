"""A seed in a file: read only where it is its owner's alone, and never overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from xkeymsg import KeyStoreError, XKeyPair
from xkeymsg.trust.stores.file import read_seed, write_seed

PAIR = XKeyPair(bytes(range(100, 132)))


def seed_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "key.seed"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_seed(tmp_path / "key", PAIR)
    assert read_seed(tmp_path / "key").public == PAIR.public


def test_a_path_is_a_text_as_well_and_nothing_else(tmp_path: Path) -> None:
    write_seed(str(tmp_path / "key"), PAIR)
    assert read_seed(str(tmp_path / "key")).public == PAIR.public
    for path in (b"key", 3, None):
        with pytest.raises(TypeError, match="is a str or a Path, not"):
            read_seed(path)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="is a str or a Path, not"):
            write_seed(path, PAIR)  # type: ignore[arg-type]
    with pytest.raises(KeyStoreError):
        read_seed("a\0b")


def test_a_new_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_seed(tmp_path / "key", PAIR)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    path = seed_file(tmp_path, "precious")
    for target in (path, tmp_path / "link"):
        if target != path:
            target.symlink_to(tmp_path / "nowhere")
        with pytest.raises(KeyStoreError, match="already exists"):
            write_seed(target, PAIR)
    assert path.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="cannot write"):
        write_seed(tmp_path / "no" / "key", PAIR)
    with pytest.raises(KeyStoreError, match="cannot read"):
        read_seed(tmp_path / "no" / "key")
    with pytest.raises(KeyStoreError, match="cannot read"):
        read_seed(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o610, 0o601])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeyStoreError, match="chmod 600"):
        read_seed(seed_file(tmp_path, PAIR.seed(), mode))


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_ones_own_is_read(tmp_path: Path, mode: int) -> None:
    assert read_seed(seed_file(tmp_path, PAIR.seed(), mode)).public == PAIR.public


def test_comments_and_line_ends_around_the_seed_do_not_matter(tmp_path: Path) -> None:
    text = f"# the key of bob\r\n\r\n{PAIR.seed()}\r\n\n"
    assert read_seed(seed_file(tmp_path, text)).public == PAIR.public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        PAIR.seed() + "\n" + PAIR.seed(),
        PAIR.seed()[:-1],
        PAIR.seed()[:20] + "7" + PAIR.seed()[21:],
        PAIR.seed() + PAIR.seed(),
        "\u00e9" * 58,
        PAIR.seed() + "\n" * 5000,
    ],
)
def test_anything_else_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(KeyStoreError) as caught:
        read_seed(seed_file(tmp_path, text))
    assert PAIR.seed()[3:12] not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (str(PAIR.public), ": expected a seed SX…, not a public key"),
        ("# one\n\n# two\n", ": expected one line with a seed SX…, found only comments and blank"),
        (
            f"# one\n{PAIR.seed()}\n#\n{PAIR.seed()}\n",
            ": expected one line with a seed SX…, found 2",
        ),
    ],
)
def test_an_error_says_what_the_file_holds(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(KeyStoreError) as caught:
        read_seed(seed_file(tmp_path, text))
    assert said in str(caught.value)


def test_a_file_with_a_public_key_is_called_one_although_others_can_read_it(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="not a public key"):
        read_seed(seed_file(tmp_path, f"{PAIR.public}\n", 0o644))


def test_a_public_key_instead_of_a_path_is_called_one() -> None:
    with pytest.raises(KeyStoreError, match="expected the path of a seed file, not a public key"):
        read_seed(str(PAIR.public))


def test_a_pipe_has_no_mode_to_look_at() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        file.write(PAIR.seed())
    try:
        assert read_seed(Path(f"/dev/fd/{reading}")).public == PAIR.public
    finally:
        os.close(reading)


def test_a_full_disk_leaves_no_half_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyStoreError, match="No space left"):
        write_seed(tmp_path / "key", PAIR)
    assert list(tmp_path.iterdir()) == []
