"""Marks everything in a CT that is at least as dense as bone. Change `mark` into your own model.

Reads every volume of the input folder (MHD, Hounsfield units) and writes a label map of the same name on the same
grid, with a JSON file beside it that says what the labels mean. Standard library only.
"""

import argparse
import operator
import sys
from array import array
from functools import partial

import clara_driver
from clara_driver import volume

BONE = 1  # the value in the label map
SEGMENT = {
    "value": BONE,
    "name": "bone",
    "label": "Bone",
    "color": [230, 220, 190],  # sRGB
    "category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
    "type": {"value": "272673000", "scheme": "SCT", "meaning": "Bone"},
}
# Element types of a volume and how Python's array module calls them.
KINDS = {
    "MET_CHAR": "b", "MET_UCHAR": "B", "MET_SHORT": "h", "MET_USHORT": "H", "MET_INT": "i", "MET_UINT": "I",
    "MET_FLOAT": "f", "MET_DOUBLE": "d",
}  # fmt: skip


def mark(values, threshold):
    """One byte for each value: 1 where it is at or above the threshold, else 0. This is where a model goes."""
    return bytes(map(partial(operator.le, threshold), values))


def segment(header, voxels, threshold, progress):
    """The label map of a volume, slice by slice: one byte a voxel, in the order of the volume."""
    slices = header.size[2]
    step = header.nbytes // slices
    labels = bytearray()
    for k in range(slices):
        values = array(KINDS[header.element])
        values.frombytes(voxels[k * step : (k + 1) * step])
        if sys.byteorder == "big":  # volumes are little endian
            values.byteswap()
        labels += mark(values, threshold)
        progress(k + 1, slices)
    return labels


def describe(image, labels, header):
    """The sidecar of the label map: what the image's sidecar says about the series, and what the labels mean."""
    voxel_ml = header.spacing[0] * header.spacing[1] * header.spacing[2] / 1000
    kept = {key: image[key] for key in ("series", "geometry", "instances") if key in image}
    return {
        "schema": 1,
        "kind": "labels",
        **kept,
        "segments": [{**SEGMENT, "volume_ml": round(labels.count(BONE) * voxel_ml, 3)}],
        "algorithm": {"name": "my-stage", "version": "0.1"},
        "notice": "Not for clinical use. An example: a threshold is not a segmentation.",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threshold", type=int, default=250, help="Hounsfield units (default: %(default)s)")
    threshold = parser.parse_args().threshold
    with clara_driver.stage() as stage:
        paths = volume.find(stage.input)
        if not paths:
            raise clara_driver.FinalFailure("no volume in the input; let my-stage read the output of dicom-reader")
        for path in paths:
            header, voxels = volume.read(path)
            labels = segment(header, voxels, threshold, stage.progress)
            sidecar = describe(volume.read_sidecar(path) or {}, labels, header)
            volume.write(stage.output / path.name, header._replace(element="MET_UCHAR"), labels, sidecar)
            stage.log("{}: {} of {} voxels marked".format(path.name, labels.count(BONE), header.count))


if __name__ == "__main__":
    main()
