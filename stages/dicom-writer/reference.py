"""How an object says which images it was made from (PS3.3 10.3, C.7.6.16.2.6, C.12.2)."""

from __future__ import annotations

from collections.abc import Sequence

import encode
from pydicom.dataset import Dataset
from sidecar import Code
from source import Plane

SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
SEGMENTATION = Code("113076", "DCM", "Segmentation")


def source_image(plane: Plane) -> bytes:
    """Source Image Sequence: this plane, whose pixels are where ours are."""
    frame = b"" if plane.frame is None else encode.text(0x00081160, "IS", str(plane.frame))
    return encode.sequence(
        0x00082112,
        encode.text(0x00081150, "UI", plane.instance.sop_class)
        + encode.text(0x00081155, "UI", plane.instance.uid)
        + frame
        + encode.text(0x0028135A, "CS", "YES")
        + encode.sequence(0x0040A170, _code(SOURCE_IMAGE)),
    )


def derivation(plane: Plane, how: Code) -> bytes:
    """Derivation Image Sequence of a frame."""
    return encode.sequence(0x00089124, source_image(plane) + encode.sequence(0x00089215, _code(how)))


def _code(concept: Code) -> bytes:
    return (
        encode.text(0x00080100, "SH", concept.value)
        + encode.text(0x00080102, "SH", concept.scheme)
        + encode.text(0x00080104, "LO", concept.meaning)
    )


def series(planes: Sequence[Plane]) -> Dataset:
    """An item of Referenced Series Sequence: every source instance once."""
    made = Dataset()
    made.SeriesInstanceUID = planes[0].instance.series
    made.ReferencedInstanceSequence = []
    for uid, sop_class in {plane.instance.uid: plane.instance.sop_class for plane in planes}.items():
        one = Dataset()
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = sop_class, uid
        made.ReferencedInstanceSequence.append(one)
    return made
