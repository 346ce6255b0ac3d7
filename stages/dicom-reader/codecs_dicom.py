"""One compressed frame -> its stored values, little endian. Runs only in the confined process of `decoders`.

Started as `python codecs_dicom.py ADDRESS_MIB CPU_SECONDS`: reads requests from stdin (a JSON line, then the bytes),
answers on stdout (a JSON line, then the bytes). Libraries: openjpeg (JPEG 2000, HTJ2K), rle, jpeg_ls, and SimpleITK
for JPEG. It trusts nothing in the frame and believes no header: what comes out is measured.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rle_rows

Layout = dict[str, Any]  # rows, columns, allocated, stored, signed, as `decoders` sends it

RLE = "1.2.840.10008.1.2.5"
JPEG = {"1.2.840.10008.1.2.4." + end for end in ("50", "51", "57", "70")}
JPEG_LS = {"1.2.840.10008.1.2.4." + end for end in ("80", "81")}
JPEG_2000 = {"1.2.840.10008.1.2.4." + end for end in ("90", "91", "201", "202", "203")}
LOSSLESS = {"1.2.840.10008.1.2.4." + end for end in ("80", "90", "201", "202")}  # beside JPEG, whose marker says it
JPEG_PROCESS = {"50": {0xC0}, "51": {0xC0, 0xC1}, "57": {0xC3}, "70": {0xC3}}  # frame headers, by end of the syntax
END_OF_IMAGE = b"\xff\xd9"  # of all JPEG families, never within coded data; decoders fill up what is missing
WITH_LOSS = "the frame is compressed with loss, its transfer syntax says without"
SYNTAXES = frozenset({RLE} | JPEG | JPEG_LS | JPEG_2000)


class Undecodable(Exception):
    """The frame is not what its header says. `code` = that of the refusal."""

    def __init__(self, reason: str, code: str = "E_DECODE") -> None:
        super().__init__(reason)
        self.code = code


def decode(data: bytes, syntax: str, layout: Layout) -> tuple[bytes, bool]:
    """The frame as rows x columns values of `allocated` bits, and whether Rows and Columns cannot be confirmed.

    Raises anything: the process is there for that.
    """
    if syntax == RLE:
        return _rle(data, layout)
    if END_OF_IMAGE not in data:
        raise Undecodable("the frame ends without its end marker: it was cut, or its end overwritten")
    if syntax in JPEG_2000:
        return _jpeg_2000(data, layout, syntax), False
    if syntax in JPEG_LS:
        return _jpeg_ls(data, layout, syntax), False
    if syntax in JPEG:
        return _jpeg(data, layout, syntax), False
    raise Undecodable(f"transfer syntax {syntax} is not read")


def _rle(data: bytes, layout: Layout) -> tuple[bytes, bool]:
    from rle.utils import decode_frame

    segments, width = int.from_bytes(data[:4], "little"), layout["allocated"] // 8
    if segments != width:
        raise Undecodable(f"the RLE frame says {segments} segments where {width} belong")
    pixels = bytes(decode_frame(data, layout["rows"] * layout["columns"], layout["allocated"], "<"))
    rows, columns = layout["rows"], layout["columns"]
    if rows == columns:
        return pixels, False  # swapped, it is the same
    found = rle_rows.look(data, rows, columns)
    if found is rle_rows.Rows.SWAPPED:
        reason = f"each row of the RLE frame has {rows} pixels, its header says Columns {columns} and Rows {rows}"
        raise Undecodable(f"{reason}: they are swapped", "E_PIXEL_FORMAT")
    return pixels, found is rle_rows.Rows.UNKNOWN and not _uniform(pixels, layout)


def _uniform(pixels: bytes, layout: Layout) -> bool:
    """One value everywhere: then any rows are the right ones."""
    width: int = layout["allocated"] // 8
    return pixels == pixels[:width] * (len(pixels) // width)


def _jpeg_2000(data: bytes, layout: Layout, syntax: str) -> bytes:
    import openjpeg.utils

    if data[:4] != b"\xff\x4f\xff\x51":
        raise Undecodable("no JPEG 2000 codestream")
    facts = openjpeg.utils.get_parameters(data, 0)
    _agree(layout, facts["rows"], facts["columns"], facts["samples_per_pixel"], facts["precision"], facts["is_signed"])
    if syntax in LOSSLESS and _irreversible(data):
        raise Undecodable(WITH_LOSS)
    pixels = openjpeg.utils.decode_pixel_data(data, version=2)
    return _within(_as_allocated(bytes(pixels), layout, facts["is_signed"]), layout, facts["precision"])


def _irreversible(data: bytes) -> bool:
    """Whether the main header (COD, ITU-T T.800 A.6.1) names the wavelet that loses."""
    position = 2
    while position + 14 <= len(data) and data[position] == 0xFF and data[position + 1] != 0x90:
        if data[position + 1] == 0x52:
            return data[position + 13] == 0
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise Undecodable("no JPEG 2000 coding style")


def _jpeg_ls(data: bytes, layout: Layout, syntax: str) -> bytes:
    import jpeg_ls

    pixels, facts = jpeg_ls.decode_pixel_data(data)
    _agree(layout, facts["height"], facts["width"], facts["components"], facts["bits_per_sample"], False)
    if syntax in LOSSLESS and facts["allowed_lossy_error"]:
        raise Undecodable(WITH_LOSS)
    return _within(_as_allocated(bytes(pixels), layout, False), layout, facts["bits_per_sample"])


def _jpeg(data: bytes, layout: Layout, syntax: str) -> bytes:
    import SimpleITK as sitk

    process, rows, columns, components, precision = _jpeg_facts(data)
    if process not in JPEG_PROCESS[syntax.rpartition(".")[2]]:
        raise Undecodable(f"the frame is of JPEG process SOF{process - 0xC0}, which is not that of its transfer syntax")
    _agree(layout, rows, columns, components, precision, False)
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, "frame.dcm")
        path.write_bytes(_wrapped(data, layout, syntax))
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        except RuntimeError:  # its text is about the decoder's own files
            raise Undecodable("the JPEG frame does not decode") from None
    if array.size != layout["rows"] * layout["columns"] or array.dtype.kind not in "iu":
        raise Undecodable("the decoder gave another image than the header says")
    return _within(array.astype(f"<i{layout['allocated'] // 8}", copy=False).tobytes(), layout, precision)


def _jpeg_facts(data: bytes) -> tuple[int, int, int, int, int]:
    """Marker, rows, columns, components and precision of the frame header (ITU-T T.81 B.2.2)."""
    position = 2
    while data[:2] == b"\xff\xd8" and position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xFF:
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, rows, columns, components = struct.unpack_from(">BHHB", data, position + 4)
            return marker, rows, columns, components, precision
        else:
            position += 2 + length
    raise Undecodable("no JPEG frame header")


def _agree(layout: Layout, rows: int, columns: int, components: int, precision: int, signed: bool) -> None:
    if (rows, columns) != (layout["rows"], layout["columns"]):
        raise Undecodable(f"the frame is {rows} x {columns}, its header says {layout['rows']} x {layout['columns']}")
    if components != 1:
        raise Undecodable(f"the frame has {components} components, its header says 1")
    if precision > layout["allocated"]:
        raise Undecodable(f"the frame has {precision} bits, its header says {layout['allocated']} allocated")
    if signed and not layout["signed"]:
        raise Undecodable("the frame holds signed values, its header says unsigned")
    if layout["signed"] and not signed and precision < layout["stored"]:
        raise Undecodable(f"signed values of {layout['stored']} bits in a frame of {precision}: the sign is not known")


def _as_allocated(pixels: bytes, layout: Layout, signed: bool) -> bytes:
    """Decoders give the narrowest type that holds the precision; widen it to what the header allocates."""
    import numpy as np

    count, width = layout["rows"] * layout["columns"], layout["allocated"] // 8
    have = len(pixels) // count
    if have * count != len(pixels) or have not in (1, 2, 4):
        raise Undecodable(f"{len(pixels)} bytes came out where {count * width} belong")
    if have == width:
        return pixels
    return np.frombuffer(pixels, f"<{'i' if signed else 'u'}{have}").astype(f"<i{width}").tobytes()


def _within(pixels: bytes, layout: Layout, precision: int) -> bytes:
    """The values, which must be what Bits Stored can hold: bits above it are masked later, here they are no overlay."""
    import numpy as np

    stored, width = layout["stored"], layout["allocated"] // 8
    if precision > stored and (np.frombuffer(pixels, f"<u{width}") >> stored).any():
        above = np.frombuffer(pixels, f"<i{width}") >> (stored - 1)
        if not layout["signed"] or above.min() < -1 or above.max() > 0:  # 0 and -1: the sign goes on
            raise Undecodable(f"values of {precision} bits in the frame, its header says Bits Stored {stored}")
    return pixels


def _wrapped(data: bytes, layout: Layout, syntax: str) -> bytes:
    """A least DICOM file around a JPEG frame, so that SimpleITK decodes all bits as they are and nothing else."""

    def element(tag: int, vr: bytes, value: bytes) -> bytes:
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
        return head + (struct.pack("<HI", 0, len(value)) if vr == b"OB" else struct.pack("<H", len(value))) + value

    def us(tag: int, number: int) -> bytes:
        return element(tag, b"US", struct.pack("<H", number))

    sop_class = b"1.2.840.10008.5.1.4.1.1.7"
    meta = element(0x00020001, b"OB", b"\0\1") + element(0x00020002, b"UI", sop_class)
    meta += element(0x00020003, b"UI", b"1.2") + element(0x00020010, b"UI", syntax.encode())
    body = element(0x00080016, b"UI", sop_class) + element(0x00080018, b"UI", b"1.2")
    body += us(0x00280002, 1) + element(0x00280004, b"CS", b"MONOCHROME2")
    body += us(0x00280010, layout["rows"]) + us(0x00280011, layout["columns"]) + us(0x00280100, layout["allocated"])
    body += us(0x00280101, layout["allocated"]) + us(0x00280102, layout["allocated"] - 1) + us(0x00280103, 0)
    body += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    body += struct.pack("<HHI", 0xFFFE, 0xE000, len(data) + len(data) % 2) + data + b"\0" * (len(data) % 2)
    body += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    length = element(0x00020000, b"UL", struct.pack("<I", len(meta)))
    return b"\0" * 128 + b"DICM" + length + meta + body


def _serve(answers: Callable[[bytes], object], cpu_seconds: int) -> None:
    """Answer requests until stdin ends; each has its own share of CPU."""
    source = sys.stdin.buffer
    while line := source.readline():
        request = json.loads(line)
        data = source.read(request["length"])
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(
            resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + cpu_seconds, resource.RLIM_INFINITY)
        )
        try:
            (pixels, unsure), error, code = decode(data, request["syntax"], request), "", ""
        except Undecodable as problem:
            pixels, unsure, error, code = b"", False, str(problem)[:300], problem.code
        except Exception as problem:  # noqa: BLE001  the edge of the process: any fault of a decoder is an answer
            error = " ".join(f"{type(problem).__name__}: {problem}".split())[:300]
            pixels, unsure, code = b"", False, "E_DECODE"
        answer = {"length": len(pixels), "error": error, "code": code, "unsure": unsure}
        answers(json.dumps(answer).encode() + b"\n")
        answers(pixels)


def main() -> None:
    address_mib, cpu_seconds = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (address_mib << 20, address_mib << 20))
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not become an answer

    def answer(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[out.write(view) or 0 :]

    _serve(answer, cpu_seconds)


if __name__ == "__main__":
    main()
