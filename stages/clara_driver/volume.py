"""Volumes between stages: MetaImage (`.mhd` beside `.raw` or `.zraw`) and a JSON sidecar of the same name.

Coordinates are DICOM's patient space in mm (LPS: +x to the patient's left, +y to the back, +z to the head). Voxel
(i, j, k), i fastest in the file, lies at `origin + direction @ (spacing * (i, j, k))`; `direction` is a 3 x 3 matrix,
given row by row, whose columns are the directions of i, j and k (as in ITK; the MHD key TransformMatrix holds the
columns one after the other, as ITK writes it).

Standard library only, Python 3.8: a stage may copy this file. It knows no numpy (use `numpy.frombuffer`) and no DICOM.
Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Tuple, Union

Buffer = Union[bytes, bytearray, memoryview]

ELEMENT_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
NUMPY = {
    "MET_CHAR": "<i1", "MET_UCHAR": "<u1", "MET_SHORT": "<i2", "MET_USHORT": "<u2", "MET_INT": "<i4",
    "MET_UINT": "<u4", "MET_FLOAT": "<f4", "MET_DOUBLE": "<f8",
}  # fmt: skip
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
MAX_HEADER = 65536  # bytes
MAX_SIDECAR = 256 << 20  # bytes

Vector = Tuple[float, float, float]
Size = Tuple[int, int, int]


class VolumeError(ValueError):
    """The file is not a volume this module reads; the text names the file and the reason."""


class Header(NamedTuple):
    """What an MHD file says. `size` and `spacing` (mm) are along i, j, k."""

    size: Size
    spacing: Vector = (1.0, 1.0, 1.0)
    origin: Vector = (0.0, 0.0, 0.0)
    direction: Tuple[float, ...] = IDENTITY
    element: str = "MET_SHORT"
    data_file: str = ""  # beside the .mhd; set by the reader
    compressed: bool = False
    big_endian: bool = False

    @property
    def count(self) -> int:  # type: ignore[override]  # voxels; hides the method that a tuple has
        return self.size[0] * self.size[1] * self.size[2]

    @property
    def nbytes(self) -> int:
        return self.count * ELEMENT_BYTES[self.element]

    @property
    def dtype(self) -> str:
        """numpy's name of the element type as `read` returns it (little endian)."""
        return NUMPY[self.element]


def find(folder: Union[str, Path]) -> List[Path]:
    """The volumes of a folder and its sub-folders, sorted by path."""
    return sorted(path for path in Path(folder).rglob("*.mhd") if path.is_file())


def read_header(path: Union[str, Path]) -> Header:
    """Read an MHD file. Raises VolumeError; no other error for any content."""
    path = Path(path)
    with open(path, "rb") as file:
        text = file.read(MAX_HEADER + 1)
    if len(text) > MAX_HEADER:
        raise VolumeError("{}: longer than {} bytes: not an MHD header".format(path, MAX_HEADER))
    keys = {}  # type: Dict[str, str]
    for line in text.decode("latin-1").splitlines():
        name, sign, value = line.partition("=")
        if sign:
            keys[name.strip().lower()] = value.strip()
    try:
        for name in ("DimSize", "ElementType", "ElementDataFile"):
            if name.lower() not in keys:
                raise ValueError("no {}: not an MHD header".format(name))
        return _header(keys)
    except (ValueError, OverflowError) as error:
        raise VolumeError("{}: {}".format(path, error)) from None


def _header(keys: Dict[str, str]) -> Header:
    size = _numbers(keys["dimsize"], int, "DimSize")
    if int(keys.get("ndims", "3")) != 3 or len(size) != 3:
        raise ValueError("only volumes with three dimensions are read")
    if min(size) < 1 or size[0] * size[1] * size[2] > 1 << 40:
        raise ValueError("DimSize out of range")
    element = keys["elementtype"].upper()
    if element not in ELEMENT_BYTES or keys.get("elementnumberofchannels", "1") != "1":
        raise ValueError("ElementType {} is not read".format(element))
    spacing = _numbers(keys.get("elementspacing") or keys.get("elementsize") or "1 1 1", float, "ElementSpacing")
    origin = _numbers(keys.get("offset") or keys.get("position") or keys.get("origin") or "0 0 0", float, "Offset")
    columns = _numbers(
        keys.get("transformmatrix") or keys.get("rotation") or keys.get("orientation") or "1 0 0 0 1 0 0 0 1",
        float, "TransformMatrix",
    )  # fmt: skip
    if len(spacing) != 3 or len(origin) != 3 or len(columns) != 9:
        raise ValueError("spacing, offset or matrix is not that of a volume")
    if min(spacing) <= 0:
        raise ValueError("ElementSpacing must be above zero")
    data_file = keys["elementdatafile"]
    if not data_file or data_file != Path(data_file).name or data_file in (".", "..") or "\0" in data_file:
        raise ValueError("ElementDataFile must be a file beside the header")
    if data_file == "LOCAL" or data_file.startswith("LIST") or "%" in data_file:
        raise ValueError("ElementDataFile {} is not read; one file beside the header is".format(data_file))
    big = keys.get("binarydatabyteordermsb", keys.get("elementbyteordermsb", "False"))
    return Header(
        size=(size[0], size[1], size[2]), spacing=(spacing[0], spacing[1], spacing[2]),
        origin=(origin[0], origin[1], origin[2]),
        direction=tuple(columns[3 * j + i] for i in range(3) for j in range(3)),
        element=element, data_file=data_file, compressed=_truth(keys.get("compresseddata", "False")),
        big_endian=_truth(big),
    )  # fmt: skip


def _numbers(text: str, kind: Any, name: str) -> Tuple[Any, ...]:
    try:
        numbers = tuple(kind(word) for word in text.split())
    except ValueError:
        raise ValueError("{} is not a list of numbers".format(name)) from None
    if any(number != number or number in (float("inf"), float("-inf")) for number in numbers):
        raise ValueError("{} is not finite".format(name))
    return numbers


def _truth(text: str) -> bool:
    return text.lower() in ("true", "1", "yes")


def read(path: Union[str, Path]) -> Tuple[Header, bytearray]:
    """Header and voxels, little endian, i fastest. Raises VolumeError when the data are not there or not complete."""
    path = Path(path)
    header = read_header(path)
    data = path.parent / header.data_file
    voxels = bytearray(header.nbytes) if not header.compressed else bytearray()
    try:
        with open(data, "rb") as file:
            if header.compressed:
                voxels = _inflate(file, header.nbytes)
            else:
                got = file.readinto(voxels)
                if got != header.nbytes or file.read(1):
                    raise VolumeError("{}: {} bytes expected".format(data, header.nbytes))
    except (OSError, zlib.error) as error:
        raise VolumeError("{}: {}".format(data, error)) from None
    if header.big_endian and ELEMENT_BYTES[header.element] > 1:
        _swap(voxels, ELEMENT_BYTES[header.element])
        header = header._replace(big_endian=False)
    return header, voxels


def _inflate(file: BinaryIO, size: int) -> bytearray:
    """Bounded: a stream that grows beyond the announced size is refused before it fills the memory."""
    engine, out = zlib.decompressobj(), bytearray()
    while not engine.eof:
        block = engine.unconsumed_tail or file.read(1 << 20)
        if not block:
            break
        out += engine.decompress(block, size - len(out) + 1)
        if len(out) > size:
            break
    if len(out) != size or not engine.eof:
        raise VolumeError("{}: {} bytes expected after decompression".format(file.name, size))
    return out


def _swap(voxels: bytearray, width: int) -> None:
    for byte in range(width // 2):
        low, high = voxels[byte::width], voxels[width - 1 - byte :: width]
        voxels[byte::width], voxels[width - 1 - byte :: width] = high, low


def write(path: Union[str, Path], header: Header, voxels: Buffer, sidecar: Optional[Dict[str, Any]] = None) -> None:
    """Write `path` (.mhd), its .raw and, when given, its sidecar .json.

    The header comes last: no half volume is found.
    """
    path = Path(path)
    view = memoryview(voxels).cast("B")
    if len(view) != header.nbytes:
        raise VolumeError("{}: {} bytes given, {} needed".format(path, len(view), header.nbytes))
    raw = path.with_name(path.name[: -len(".mhd")] + ".raw")
    with open(raw, "wb") as file:
        file.write(view)
    if sidecar is not None:
        write_sidecar(path, sidecar)
    write_header(path, header._replace(data_file=raw.name, compressed=False, big_endian=sys.byteorder == "big"))


def write_header(path: Union[str, Path], header: Header) -> None:
    """Write only the .mhd; the data file it names is the caller's."""

    def line(numbers: Tuple[Any, ...]) -> str:
        return " ".join("{:.17g}".format(n) if isinstance(n, float) else str(n) for n in numbers)

    columns = tuple(header.direction[3 * i + j] for j in range(3) for i in range(3))
    text = "\n".join([
        "ObjectType = Image", "NDims = 3", "BinaryData = True",
        "BinaryDataByteOrderMSB = {}".format(header.big_endian), "CompressedData = {}".format(header.compressed),
        "TransformMatrix = " + line(columns), "Offset = " + line(header.origin), "CenterOfRotation = 0 0 0",
        "AnatomicalOrientation = RAI", "ElementSpacing = " + line(header.spacing), "DimSize = " + line(header.size),
        "ElementType = " + header.element, "ElementDataFile = " + header.data_file, "",
    ])  # fmt: skip
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.write(text)


def sidecar_path(path: Union[str, Path]) -> Path:
    """`<name>.json` beside `<name>.mhd`."""
    return Path(path).with_suffix(".json")


def read_sidecar(path: Union[str, Path]) -> Optional[Dict[str, Any]]:
    """The sidecar of a volume, None when it has none. Raises VolumeError when it is there and not a JSON object."""
    path = sidecar_path(path)
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_SIDECAR:
        raise VolumeError("{}: longer than {} bytes".format(path, MAX_SIDECAR))
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise VolumeError("{}: {}".format(path, error)) from None
    if not isinstance(value, dict):
        raise VolumeError("{}: not a JSON object".format(path))
    return value


def write_sidecar(path: Union[str, Path], sidecar: Dict[str, Any]) -> None:
    """Same values, same bytes: keys keep their order, text is ASCII; one line a key, and one an entry of its list."""
    lines = ",\n ".join("{}: {}".format(_json(key), _entries(value)) for key, value in sidecar.items())
    with open(sidecar_path(path), "w", encoding="ascii", newline="\n") as file:
        file.write("{\n " + lines + "\n}\n")


_json = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode  # without indent: ten times as fast


def _entries(value: Any) -> str:
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        return "[\n  " + ",\n  ".join(map(_json, value)) + "\n ]"
    return str(_json(value))
