"""DICOM elements as bytes: explicit VR little endian, Part 10 file header (PS3.5 7.1.2, PS3.10 7.1).

pydicom encodes what is written once; what is written for each slice or frame is joined here from bytes, which is
what makes the writer fast. Knows nothing of patients, volumes or segments.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from io import BytesIO

from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_data_element

LONG = {"OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UN", "UR", "UT", "SV", "UV"}  # VRs with a 4-byte length
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLEMENTATION_CLASS = "2.25.68108377795855004136402882204038580275"  # uuid5(NAMESPACE_DNS, "clara-argo")
IMPLEMENTATION_VERSION = "CLARA_ARGO"
UTF8 = "ISO_IR 192"
MAX_LENGTH = 0xFFFFFFFE  # bytes of one element


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element; the value is padded to an even length."""
    if len(value) & 1:
        value += b"\0" if vr in ("UI", "OB") else b" "
    return start(tag, vr, len(value)) + value


def start(tag: int, vr: str, length: int) -> bytes:
    """Tag, VR and length of an element whose value follows."""
    if vr in LONG:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)


def text(tag: int, vr: str, *values: str) -> bytes:
    return element(tag, vr, "\\".join(values).encode("utf-8"))


def sequence(tag: int, *items: bytes) -> bytes:
    """A sequence of defined length; each item is the joined elements of one."""
    return element(tag, "SQ", b"".join(map(item, items)))


def item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def elements(dataset: Dataset) -> dict[int, bytes]:
    """Each element of a data set by its tag, text in UTF-8."""
    encodings = convert_encodings(UTF8)
    made = {}
    for one in dataset:
        buffer = BytesIO()
        file = DicomIO(buffer)
        file.is_little_endian, file.is_implicit_VR = True, False
        write_data_element(file, one, encodings)
        made[int(one.tag)] = buffer.getvalue()
    return made


def file_header(sop_class: str, sop_instance: str) -> bytes:
    """Preamble of zeros, DICM and the file meta information."""
    meta = b"".join([
        element(0x00020001, "OB", b"\0\1"),
        text(0x00020002, "UI", sop_class),
        text(0x00020003, "UI", sop_instance),
        text(0x00020010, "UI", EXPLICIT_LITTLE_ENDIAN),
        text(0x00020012, "UI", IMPLEMENTATION_CLASS),
        text(0x00020013, "SH", IMPLEMENTATION_VERSION),
    ])  # fmt: skip
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta


class Template:
    """A data set of which some elements change from file to file: the others are joined once."""

    def __init__(self, constant: Mapping[int, bytes], varying: Iterable[int]) -> None:
        self.varying = sorted(varying)
        self.otherwise = {tag: constant.get(tag, b"") for tag in self.varying}
        runs: list[list[bytes]] = [[] for _ in range(len(self.varying) + 1)]
        for tag in sorted(set(constant) - set(self.varying)):
            runs[sum(other < tag for other in self.varying)].append(constant[tag])
        self.runs = [b"".join(run) for run in runs]

    def fill(self, values: Mapping[int, bytes]) -> bytes:
        """The data set with these in their places; one that is not given is that of the others, or left out."""
        parts = [self.runs[0]]
        for tag, run in zip(self.varying, self.runs[1:], strict=True):
            parts += (values.get(tag, self.otherwise[tag]), run)
        return b"".join(parts)
