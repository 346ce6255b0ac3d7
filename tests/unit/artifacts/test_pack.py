"""Packed folders: what goes in comes out, the same each time; what is damaged or made to do harm does not come out."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit.artifacts.contract import folder, odd_folder

from clara_argo.artifacts import pack, tree
from clara_argo.artifacts.errors import Damaged
from clara_argo.errors import JobFailed


def packed(source: Path, **options: object) -> bytes:
    return b"".join(pack.pack(source, **options))  # type: ignore[arg-type]


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def unpacked(data: bytes, into: Path, size: int = 1 << 16, limit: int | None = None) -> str:
    into.mkdir()
    return pack.unpack(blocks(data, size), into, key="k", limit=limit)


def tar(*entries: tuple[str, bytes] | tarfile.TarInfo, level: int = 1) -> bytes:
    """Gzip-ed, with whatever is wanted in it; a name that ends with a slash is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0].rstrip("/") or "/")
            info.size = len(entry[1])
            info.type = tarfile.DIRTYPE if entry[0].endswith("/") else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO(entry[1]))
    return gzip.compress(buffer.getvalue(), level)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("size", [1 << 20, 65537])
def test_there_and_back(tmp_path: Path, level: int, size: int) -> None:
    source = odd_folder(tmp_path / "a")
    data = packed(source, level=level)
    assert unpacked(data, tmp_path / "b", size) == tree.digest(tmp_path / "b") == tree.digest(source)
    assert pack.digest(blocks(data, size)) == tree.digest(source)


def test_byte_by_byte(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", x="1", deep__y="2", empty="")
    assert unpacked(packed(source, level=1), tmp_path / "b", 1) == tree.digest(source)


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a", x="1", d__y="2"), folder(tmp_path / "b", d__y="2", x="1")
    os.utime(one / "x", (1, 1))
    (one / "x").chmod(0o600)
    assert packed(one) == packed(other) != packed(one, top="output")


def test_others_read_what_is_packed(tmp_path: Path) -> None:
    source = odd_folder(tmp_path / "a")
    data = packed(source, top="output")
    (tmp_path / "b").mkdir()
    subprocess.run(["tar", "xzf", "-", "-C", str(tmp_path / "b")], input=data, check=True)
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["output"]
    assert tree.digest(tmp_path / "b/output") == tree.digest(source)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        infos = archive.getmembers()
    assert {(info.mtime, info.uid, info.gid, info.uname) for info in infos} == {(0, 0, 0, "")}
    assert {info.mode for info in infos if info.isdir()} == {0o755}
    assert {info.mode for info in infos if info.isfile()} == {0o644}


def test_what_others_packed_is_read(tmp_path: Path) -> None:
    source = odd_folder(tmp_path / "output")
    for options in (["--format=pax"], ["--format=gnu"]):
        command = ["tar", "czf", "-", *options, "-C", str(tmp_path), "output"]
        data = subprocess.run(command, capture_output=True, check=True).stdout
        assert pack.digest(blocks(data, 1000)) == tree.digest(source)


def test_gzip_in_several_parts(tmp_path: Path) -> None:
    data = gzip.decompress(packed(folder(tmp_path / "a", x="1" * 5000)))
    parts = gzip.compress(data[:1500]) + gzip.compress(data[1500:])
    for size in (7, 1 << 20):
        assert pack.digest(blocks(parts, size)) == tree.digest(tmp_path / "a")


def test_folders_without_an_entry_of_their_own(tmp_path: Path) -> None:
    found = unpacked(tar(("output/b/c/x", b"1"), ("output/b.d", b"2"), ("output/b/", b"")), tmp_path / "b")
    assert found == tree.digest(tmp_path / "b")
    assert pack.digest([tar(("output/b/c/x", b"1"), ("output/b.d", b"2"))]) == found


def test_a_file_alone_keeps_its_name(tmp_path: Path) -> None:
    assert unpacked(tar(("scan.dcm", b"1")), tmp_path / "b") == tree.digest(folder(tmp_path / "c", **{"scan.dcm": "1"}))
    assert (tmp_path / "b/scan.dcm").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: (root / "bad").symlink_to("x"), "'bad' is a link"),
        (lambda root: os.mkfifo(root / "bad"), "'bad' is a pipe"),
    ],
)
def test_only_files_and_folders_are_packed(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    make(folder(tmp_path / "a", x="1"))
    with pytest.raises(tree.Unusable, match=says):
        packed(tmp_path / "a")


@pytest.mark.parametrize("change", [lambda file: file.write_text(""), lambda file: file.write_text("1" * (3 << 20))])
def test_a_file_that_changes_while_it_is_packed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    source = folder(tmp_path / "a", x="1" * (2 << 20))
    stream = pack.pack(source)
    while len(next(stream)) < 1000:  # the file is open
        pass
    change(source / "x")
    with pytest.raises(tree.Unusable, match=r"x' changed while it was packed"):
        list(stream)


def test_a_folder_that_is_not_what_is_expected(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", x="1", d__y="2")
    digest = tree.digest(source)
    assert packed(source, expect=digest) == packed(source)
    (source / "x").write_text("3")
    with pytest.raises(tree.Unusable, match=r"/a' changed while it was packed"):
        packed(source, expect=digest)


HOSTILE = {
    "absolute": [("/etc/x", b"1")],
    "up": [("output/../../x", b"1")],
    "up at once": [("../x", b"1")],
    "dot": [("./output/x", b"1")],
    "twice a slash": [("output//x", b"1")],
    "two at the top": [("output/x", b"1"), ("other/y", b"2")],
    "two folders at the top": [("output/", b""), ("other/", b"")],
    "two files at the top": [("x", b"1"), ("y", b"2")],
    "a file and a folder": [("output/x", b"1"), ("output", b"2")],
    "below a file": [("output", b"2"), ("output/x", b"1")],
    "a file twice": [("output/x", b"1"), ("output/x", b"2")],
    "a file as a folder": [("output/x", b"1"), ("output/x/y", b"2")],
    "a folder as a file": [("output/x/y", b"1"), ("output/x", b"2")],
    "a part too long": [("output/" + "n" * 256, b"1")],
    "too long in all": [("output/" + "/".join(["n" * 250] * 20), b"1")],
    "nothing": [],
    "a folder and then the root": [("output/", b""), ("/", b"")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    data = tar(*HOSTILE[name])
    with pytest.raises(Damaged, match="^k: "):
        unpacked(data, tmp_path / "b")
    with pytest.raises(Damaged, match="^k: "):
        pack.digest([data], key="k")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert not Path("/etc/x").exists()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (tarfile.GNUTYPE_SPARSE, "no regular file"),
        (b"?", "no regular file"),
    ],
)
def test_links_and_devices_do_not_come_out(tmp_path: Path, kind: bytes, says: str) -> None:
    data = tar(("output/a", b"1"), special("output/bad", kind, "/etc/passwd"), ("output/bad/x", b"2"))
    with pytest.raises(JobFailed, match=f"^k: 'output/bad' is {says}" if kind != b"?" else "^k: "):
        unpacked(data, tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["a"]


def test_cut_off_anywhere(tmp_path: Path) -> None:
    data = packed(folder(tmp_path / "a", x="1", d__y="2"), level=1)
    for end in range(len(data)):
        with pytest.raises(Damaged, match="^k: "):
            pack.digest([data[:end]], key="k")


def test_a_tar_that_is_cut_off_in_a_whole_gzip(tmp_path: Path) -> None:
    data = gzip.decompress(packed(folder(tmp_path / "a", x="1", d__y="2")))
    for end in range(0, len(data) - 1023, 64):
        with pytest.raises(Damaged, match="^k: "):
            pack.digest([gzip.compress(data[:end])], key="k")


def test_damage_is_seen_wherever_it_is(tmp_path: Path) -> None:
    data = bytearray(packed(folder(tmp_path / "a", x="1" * 3000)))
    right = tree.digest(tmp_path / "a")
    chance = random.Random(5)
    for place in [*range(20), *chance.sample(range(20, len(data)), 300), *range(len(data) - 20, len(data))]:
        data[place] ^= 1 << chance.randrange(8)
        with contextlib.suppress(JobFailed):
            assert pack.digest([bytes(data)], key="k") == right  # there are bits that say nothing
        data[place : place + 1] = packed(tmp_path / "a")[place : place + 1]


def test_whatever_the_headers_say(tmp_path: Path) -> None:
    """Damage that has the right checksum, as one who means harm would make it."""
    long = "output/" + "ü" * 90
    whole = gzip.decompress(tar((long, b"1"), ("output/d/", b""), ("output/" + "n" * 200, b"22")))
    chance = random.Random(7)
    for number in range(700):
        data = bytearray(whole)
        for _ in range(1 + number % 3):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 0x20, 0x30, 0x37, 0x80, 0xFF])
        for start in range(0, len(data) - 512, 512):  # let the header be accepted
            header = data[start : start + 512]
            if header[257:262] == b"ustar":
                total = sum(header) - sum(header[148:156]) + 8 * 32
                data[start + 148 : start + 156] = b"%06o\0 " % total
        try:
            found = pack.digest([gzip.compress(bytes(data), 0)], key="k")
            assert len(found) == 64
        except JobFailed as error:
            assert str(error).startswith("k: ")


def test_something_after_the_end(tmp_path: Path) -> None:
    data = packed(folder(tmp_path / "a", x="1"))
    plain = gzip.decompress(data)
    assert pack.digest([gzip.compress(plain + bytes(9000))]) == tree.digest(tmp_path / "a")
    for wrong in (gzip.compress(plain + bytes(9000) + b"x"), data + gzip.compress(b"x"), data + b"x", data + b"\0"):
        with pytest.raises(Damaged, match="^k: "):
            pack.digest([wrong], key="k")


def zeros(megabytes: int) -> Iterator[bytes]:
    """A file of zeros, packed: a thousandth of its size."""
    zipper = zlib.compressobj(1, wbits=31)
    info = tarfile.TarInfo("output/bomb")
    info.size = megabytes << 20
    yield zipper.compress(info.tobuf(tarfile.PAX_FORMAT))
    for _ in range(megabytes):
        yield zipper.compress(bytes(1 << 20))
    yield zipper.compress(bytes(1024)) + zipper.flush()


def test_a_bomb_ends_at_the_limit(tmp_path: Path) -> None:
    data = b"".join(zeros(40))
    assert len(data) < 300_000
    with pytest.raises(Damaged, match="larger than allowed"):
        unpacked(data, tmp_path / "b", limit=(40 << 20) - 1)
    assert sum(path.stat().st_size for path in (tmp_path / "b").rglob("*")) == 0
    unpacked(data, tmp_path / "c", limit=40 << 20)
    shutil.rmtree(tmp_path / "c")


def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    source = folder(tmp_path / "a")
    source.mkdir()
    with open(source / "large", "wb") as file:
        file.truncate(64 << 20)  # a hole: it costs no disk
    tracemalloc.start()
    try:
        for _ in pack.pack(source):
            pass
        pack.digest(zeros(64))
        pack.digest(pack.pack(source))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 12 << 20


def test_a_header_that_wants_gigabytes(tmp_path: Path) -> None:
    info = tarfile.TarInfo("output/x")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    data = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20), 1)
    with pytest.raises(Damaged, match="header in it is too large"):
        pack.digest([data], key="k")


def test_headers_without_end(tmp_path: Path) -> None:
    info = tarfile.TarInfo("output/x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 0
    with pytest.raises(Damaged, match="^k: "):
        pack.digest([gzip.compress(info.tobuf(tarfile.GNU_FORMAT) * 5000, 1)], key="k")


def test_a_full_disk(tmp_path: Path) -> None:
    """A file may not grow beyond the process's limit: the same errno as a full quota gives, without a disk to fill."""
    program = """
import errno, resource, signal, sys
from pathlib import Path
from clara_argo.artifacts import pack, tree
from clara_argo.errors import TryAgain
tree.FULL = (*tree.FULL, errno.EFBIG)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    pack.unpack([sys.stdin.buffer.read()], Path(sys.argv[1]), key="k")
except TryAgain as error:
    print(error)
"""
    (tmp_path / "b").mkdir()
    command = [sys.executable, "-c", program, str(tmp_path / "b")]
    data = packed(odd_folder(tmp_path / "a"))
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    assert b"the disk is full while unpacking k" in done.stdout
