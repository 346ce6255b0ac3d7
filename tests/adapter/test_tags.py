"""The tag walker: right on real files, within its limits on hostile ones, never anything but Unreadable."""

from __future__ import annotations

import contextlib
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from support import examples

from clara_adapter import partfile, tags
from clara_adapter.tags import Unreadable, read

SAMPLES = Path(pydicom.data.__file__).parent
STATED = {
    "winter.dcm": "an element stands in the file twice",
    "image_dfl.dcm": "deflated data sets are not read",
    "SC_rgb_jpeg.dcm": "an element without a value representation",  # implicit, and says explicit
    "meta_missing_tsyntax.dcm": "the file does not say its transfer syntax",
}


def expected(path: Path) -> dict[int, str]:
    """The same elements by pydicom."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = sorted(tags.IDENTITY - {tags.TRANSFER_SYNTAX})
        data = pydicom.dcmread(path, specific_tags=[*wanted, tags.CHARACTER_SET], stop_before_pixels=True)
        values = {tag: data[tag].value for tag in wanted if tag in data}
    texts = {
        tag: "\\".join(value) if isinstance(value, (list, MultiValue)) else str(value or "")
        for tag, value in values.items()
    }
    return {tag: text.strip() for tag, text in texts.items()} | {tags.TRANSFER_SYNTAX: data.file_meta.TransferSyntaxUID}


def comparable(found: Mapping[int, str]) -> dict[int, str]:
    """pydicom drops empty groups at the end of a person's name."""
    return {tag: text.rstrip("=") for tag, text in found.items()}


def test_real_files_read_as_pydicom_reads_them() -> None:
    read_files = 0
    for path in sorted((SAMPLES / "test_files").glob("*.dcm")) + sorted((SAMPLES / "charset_files").glob("*.dcm")):
        if path.read_bytes()[128:132] != b"DICM":
            with pytest.raises(Unreadable, match="prefix"):
                read(path)
        elif path.name in STATED:
            with pytest.raises(Unreadable, match=STATED[path.name]):
                read(path)
        else:
            assert comparable(read(path)) == comparable(expected(path)), path.name
            read_files += 1
    assert read_files > 60


def write(path: Path, data: Dataset | bytes, syntax: str = ExplicitVRLittleEndian) -> Path:
    head = partfile.file_head(CTImageStorage, "1.2.3", syntax)
    if isinstance(data, bytes):
        path.write_bytes(head + data)
        return path
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.save_as(path, enforce_file_format=True)
    return path


def nested(depth: int, undefined: bool) -> Dataset:
    """Sequences in sequences, then the elements that are wanted."""
    data = Dataset()
    data.add_new(0x00080060, "CS", "CT")
    for _ in range(depth):
        outer = Dataset()
        outer.add_new(0x00081140, "SQ", [data])
        outer[0x00081140].is_undefined_length = undefined
        data = outer
    data.Modality, data.StudyInstanceUID, data.SeriesInstanceUID = "CT", "1.2.4", "1.2.5"
    return data


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_lies_behind_sequences(tmp_path: Path, undefined: bool, syntax: str) -> None:
    found = read(write(tmp_path / "f", nested(20, undefined), syntax))
    assert found == {
        tags.TRANSFER_SYNTAX: syntax, tags.MODALITY: "CT", tags.STUDY: "1.2.4", tags.SERIES: "1.2.5",
    }  # fmt: skip


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    if vr in (b"SQ", b"UN", b"OB", b"UT"):
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, size) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, size) + value


OPEN_ITEM, END_ITEM, END_SEQUENCE = (
    b"\xfe\xff\x00\xe0" + b"\xff" * 4,
    b"\xfe\xff\x0d\xe0" + bytes(4),
    b"\xfe\xff\xdd\xe0" + bytes(4),
)
OPEN_SEQUENCE = element(0x00081140, b"SQ", b"", 0xFFFFFFFF)
STUDY = element(tags.STUDY, b"UI", b"1.2.3\0")


def test_a_private_sequence_of_unknown_type_is_implicit_inside(tmp_path: Path) -> None:
    """UN of undefined length, PS3.5 6.2.2."""
    inner = struct.pack("<HHI", 9, 0x1001, 4) + b"abcd" + struct.pack("<HHI", 9, 0x1002, 0xFFFFFFFF)
    inner += OPEN_ITEM + struct.pack("<HHI", 9, 0x1001, 2) + b"xy" + END_ITEM + END_SEQUENCE
    data = element(0x00091010, b"UN", b"", 0xFFFFFFFF) + OPEN_ITEM + inner + END_ITEM + END_SEQUENCE + STUDY
    assert read(write(tmp_path / "f", data))[tags.STUDY] == "1.2.3"


HOSTILE = {
    "500 sequences in each other": (OPEN_SEQUENCE + OPEN_ITEM) * 500 + STUDY,
    "sequences without an end": OPEN_SEQUENCE + OPEN_ITEM,
    "2 million empty items": OPEN_SEQUENCE + (b"\xfe\xff\x00\xe0" + bytes(4)) * 2_000_000 + END_SEQUENCE + STUDY,
    "819 200 private elements": element(0x00090010, b"LO", b"") * 819_200 + STUDY,
    "private elements in an item": OPEN_SEQUENCE + OPEN_ITEM + element(0x00090010, b"LO", b"") * 200_000,
    "a value of 4 GiB": element(0x00090010, b"UN", b"abc", 0xFFFFFFFE) + STUDY,
    "a long identifier": element(tags.PATIENT_ID, b"UT", b"x" * 100_000),
    "an identifier twice": element(tags.PATIENT_ID, b"LO", b"A ") + element(tags.PATIENT_ID, b"LO", b"B "),
    "no types": struct.pack("<HHI", 8, 0x16, 4) + b"1.2\0",
    "element cut short": STUDY[:-3],
    "header cut short": STUDY[:5],
    "not an item": OPEN_SEQUENCE + STUDY,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_unreadable(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unreadable):
        read(write(tmp_path / "f", HOSTILE[name]))


def test_what_has_a_length_is_passed_over_whatever_it_holds(tmp_path: Path) -> None:
    """A million items inside a sequence of known length cost nothing: nobody looks."""
    items = (b"\xfe\xff\x00\xe0" + bytes(4)) * 1_000_000
    data = element(0x00081140, b"SQ", items) + STUDY + element(0x7FE00010, b"OB", b"", 0xFFFFFFFF)
    assert read(write(tmp_path / "f", data))[tags.STUDY] == "1.2.3"


def test_other_files_are_unreadable(tmp_path: Path) -> None:
    for number, raw in enumerate([b"", b"x" * 131, bytes(128) + b"DICX" + bytes(50), bytes(128) + b"DICM"]):
        path = tmp_path / str(number)
        path.write_bytes(raw)
        with pytest.raises(Unreadable):
            read(path)
    (tmp_path / "link").symlink_to(tmp_path / "0")
    with pytest.raises(OSError):
        read(tmp_path / "link")


def test_only_what_was_asked_for(tmp_path: Path) -> None:
    data = Dataset()
    data.PatientID, data.PatientName, data.StudyInstanceUID, data.Manufacturer = "P1", "A^B", "1.2", "Maker"
    path = write(tmp_path / "f", data)
    assert read(path, [tags.PATIENT_ID]) == {tags.PATIENT_ID: "P1"}
    assert read(path, [tags.MANUFACTURER, tags.SERIES]) == {tags.MANUFACTURER: "Maker"}


@pytest.mark.parametrize(
    ("character_set", "raw", "text"),
    [
        (b"ISO_IR 192", "Müller 山".encode(), "Müller 山"),
        (b"ISO_IR 100", "Müller".encode("latin-1"), "Müller"),
        (b"\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "山田"),
        (b"UNHEARD_OF", b"M\xfcller", "M\\xfcller"),
        (b"ISO_IR 192", b"M\xfcller", "M\\xfcller"),
    ],
)
def test_identifiers_are_decoded_by_the_character_set(
    tmp_path: Path, character_set: bytes, raw: bytes, text: str
) -> None:
    data = element(tags.CHARACTER_SET, b"CS", character_set + b" " * (len(character_set) % 2))
    data += element(tags.PATIENT_ID, b"LO", raw + b" " * (len(raw) % 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read(write(tmp_path / "f", data))[tags.PATIENT_ID] == text


PIECES = [
    OPEN_SEQUENCE,
    OPEN_ITEM,
    END_ITEM,
    END_SEQUENCE,
    STUDY,
    element(0x00090010, b"UN", b"", 0xFFFFFFFF),
    element(0x00080005, b"CS", b"ISO 2022 IR 87\\ISO_IR 192 "),
    element(0x00100020, b"LO", b"\x1b$B\xff\xfe"),
]


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200), st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6))).map(b"".join)
    ),
    st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.840.10008.1.2.4.90"]),
)
def test_anything_is_read_or_unreadable(tmp_path: Path, data: bytes, syntax: str) -> None:
    path = write(tmp_path / "f", data, syntax)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read(path)
    except Unreadable:
        return
    assert found[tags.TRANSFER_SYNTAX] == syntax
    assert all(isinstance(value, str) for value in found.values())


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_read_or_unreadable(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray((SAMPLES / "test_files" / "CT_small.dcm").read_bytes()[:6000])
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "f"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    with warnings.catch_warnings(), contextlib.suppress(Unreadable):
        warnings.simplefilter("ignore")
        read(path)
