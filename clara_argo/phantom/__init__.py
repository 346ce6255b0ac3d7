"""Made-up studies with known truth: a procedural CT with nine labelled organs, and position-encoded series.

    made = phantom.make(seed=7)                 # HU and labels, the same bytes each time
    phantom.write_series(made, folder)          # the same as a DICOM CT series
    phantom.encoded_series(folder)              # every voxel is 3x + 5y + 8z of its mm

Coordinates are DICOM's patient space (LPS, mm). Nobody real is in it.
"""

from clara_argo.phantom.ct import CENTRE, SHAPE, SPACING, Phantom, dice, make
from clara_argo.phantom.patient import ORGANS
from clara_argo.phantom.series import AXIAL, Identity, Placement, encoded, encoded_series, uid, write_ct, write_series

NAMES = ("background", *ORGANS)  # by label value

__all__ = [
    "AXIAL",
    "CENTRE",
    "NAMES",
    "ORGANS",
    "SHAPE",
    "SPACING",
    "Identity",
    "Phantom",
    "Placement",
    "dice",
    "encoded",
    "encoded_series",
    "make",
    "uid",
    "write_ct",
    "write_series",
]
