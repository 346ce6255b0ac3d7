"""One change of a file: whole or not at all, one at a time, nobody's save lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clara_argo import source
from clara_argo.errors import DefinitionError, Held, NotFound, TryAgain, UsageError
from clara_argo.sdk.edit import edit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "values.yaml"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb")
    path.chmod(0o640)
    return path


def shout(text: str) -> str:
    return text.upper()


def alone(file: Path) -> bool:
    return [path.name for path in file.parent.iterdir()] == [file.name]


def test_bytes_and_mode_stay_as_they_are(file: Path) -> None:
    edit(file, shout)
    assert file.read_bytes() == b"\xef\xbb\xbfA\r\nB"
    assert file.stat().st_mode & 0o777 == 0o640 and alone(file)


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    edit(link, shout)
    assert link.is_symlink() and file.read_bytes().endswith(b"B")


def test_no_change_writes_nothing(file: Path) -> None:
    before = file.stat()
    edit(file, lambda text: text)
    assert file.stat().st_ino == before.st_ino


def test_what_goes_wrong_in_a_change_leaves_the_file(file: Path) -> None:
    def wrong(text: str) -> str:
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        edit(file, wrong)
    assert file.read_bytes() == b"\xef\xbb\xbfa\r\nb" and alone(file)


def test_of_two_the_second_is_told(file: Path) -> None:
    def while_held(text: str) -> str:
        with pytest.raises(Held, match="is being changed by another"):
            edit(file, shout)
        return text + "c"

    edit(file, while_held)
    assert file.read_bytes() == b"\xef\xbb\xbfa\r\nbc"


@pytest.mark.parametrize("how", ["in place", "by exchange"])
def test_an_editors_save_in_between_is_not_lost(file: Path, how: str) -> None:
    saved: list[str] = []

    def meanwhile(text: str) -> str:
        if not saved:
            saved.append(text)
            new = file if how == "in place" else file.with_name("new")
            new.write_bytes(b"saved\n")
            new.rename(file)
        return text + "ours\n"

    edit(file, meanwhile)
    assert file.read_bytes() == b"saved\nours\n" and alone(file)


def test_who_saves_all_the_time_wins(file: Path) -> None:
    number = iter(range(100))

    def meanwhile(text: str) -> str:
        file.write_bytes(b"%d" % next(number))
        return "ours"

    with pytest.raises(TryAgain, match="again and again"):
        edit(file, meanwhile)
    assert file.read_bytes() == b"4" and alone(file)


def test_read_only_is_said_also_to_the_administrator(file: Path) -> None:
    file.chmod(0o444)
    with pytest.raises(UsageError, match=r"read-only; .*chmod u\+w"):
        edit(file, shout)
    assert file.read_bytes() == b"\xef\xbb\xbfa\r\nb"


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [(errno.EROFS, UsageError, "as before. Make"), (errno.ENOSPC, TryAgain, "disk full, nothing was changed")],
)
def test_a_folder_that_takes_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], message: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(kind, match=message):
        edit(file, shout)
    assert file.read_bytes() == b"\xef\xbb\xbfa\r\nb" and alone(file)


def test_killed_before_the_exchange_the_file_is_as_before(file: Path) -> None:
    """What the killed one left is in nobody's way."""
    code = (
        "import os, sys; from pathlib import Path; from clara_argo.sdk.edit import edit\n"
        "Path.replace = lambda *_: os._exit(9)\nedit(Path(sys.argv[1]), str.upper)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], timeout=60, check=False)
    assert done.returncode == 9 and file.read_bytes() == b"\xef\xbb\xbfa\r\nb" and not alone(file)
    edit(file, shout)
    assert file.read_bytes() == b"\xef\xbb\xbfA\r\nB" and alone(file)


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("")
    code = (
        "import sys; from pathlib import Path\n"
        "from clara_argo.errors import Held; from clara_argo.sdk.edit import edit\n"
        "for number in range(20):\n"
        "    while True:\n"
        "        try:\n            edit(Path(sys.argv[1]), lambda text: text + sys.argv[2])\n            break\n"
        "        except Held:\n            pass\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(file), letter]) for letter in "xyz"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert sorted(file.read_text()) == sorted("xyz" * 20) and alone(file)


def test_what_the_next_one_writes_meanwhile_is_not_taken_away(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exchange the lock is gone: its file is another one now."""
    theirs, replace = file.with_name(".values.yaml.new"), Path.replace

    def and_the_next_one_begins(path: Path, target: Path) -> Path:
        done = replace(path, target)
        theirs.write_text("theirs")
        return done

    monkeypatch.setattr(Path, "replace", and_the_next_one_begins)
    edit(file, shout)
    assert theirs.read_text() == "theirs" and file.read_bytes() == b"\xef\xbb\xbfA\r\nB"


BAD = {
    "UTF-16": "a".encode("utf-16"),
    "Latin-1": b"\xe4",
    "a control character": b"a\x00",
    "too large": b"a" * (source.MAX_BYTES + 1),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_text_is_not_touched(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(DefinitionError, match="values.yaml"):
        edit(file, shout)
    assert file.read_bytes() == data


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        edit(tmp_path / "values.yaml", shout)
    with pytest.raises(UsageError, match="cannot be changed"):
        edit(tmp_path, shout)
