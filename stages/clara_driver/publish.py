"""Writes the folder the render server reads: volume, mask, config_render.json and, last, config.meta.

`config.meta` names the files (`density`, `seg_masks`, `settings`); `config_render.json` says how to draw them. Ranges
of a transfer function are fractions of the volume's own minimum to maximum, not HU. It reads headers, never voxels.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from clara_driver import volume as mhd
from clara_driver.driver import FinalFailure

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
KINDS = (".nii.gz", ".nii", ".mhd")
SETTINGS = "config_render.json"
META = "config.meta"
TOLERANCE = 1e-3  # mm

PRESET = {
    "BackgroundLight": {
        "intensity": 1.0, "bottom": {"x": 0.1, "y": 0.1, "z": 0.1}, "horizon": {"x": 0.5, "y": 0.5, "z": 0.5},
        "top": {"x": 1.0, "y": 1.0, "z": 1.0}, "enable": True, "castLight": True, "show": False,
    },
    "RenderSettings": {"interpolationMode": "LINEAR", "maxIterations": 1000, "shadowStepSize": 1.0, "stepSize": 1.0},
    "View": {"cameraName": "Cinematic", "mode": "CINEMATIC"},
}  # type: Dict[str, Any]  # fmt: skip
BODY = {"range": {"min": 0.3, "max": 1.0}, "activeRegions": [0], "opacity": 0.5, "opacityProfile": "SQUARE"}
LABELLED = {"range": {"min": 0.0, "max": 1.0}, "opacity": 1.0, "opacityProfile": "SQUARE"}
COLOURS = ((0.8, 0.4, 0.3), (0.4, 0.7, 0.4), (0.4, 0.5, 0.9), (0.9, 0.8, 0.4), (0.7, 0.4, 0.8), (0.4, 0.8, 0.8))


def write(
    folder: Path, name: str, volume: Path, mask: Optional[Path] = None, settings: Optional[Mapping[str, Any]] = None
) -> Path:
    """Publish one study. Raises FinalFailure when it is not one a render server could read."""
    if not NAME.fullmatch(name):
        raise FinalFailure("publish: a name has 1-64 letters, digits, '.', '_' or '-'; it is no place for patient data")
    if (folder / META).exists():
        raise FinalFailure("publish: the stage has published a study already; one study a stage")
    folder.mkdir(parents=True, exist_ok=True)
    if mask is not None:
        _same_grid(volume, mask)
    meta = {"name": name, "density": _copy(volume, folder, name, ""), "settings": SETTINGS}  # type: Dict[str, Any]
    meta["seg_masks"] = [_copy(mask, folder, name, ".output")] if mask is not None else []
    _write_json(folder / SETTINGS, dict(settings) if settings is not None else preset(mask is not None))
    _write_json(folder / META, meta)
    return folder


def preset(with_mask: bool) -> Dict[str, Any]:
    """Dense matter half transparent, and with a mask its first labels opaque, each in its own colour."""
    components = [dict(BODY, diffuseStart=_xyz((0.9, 0.85, 0.8)), diffuseEnd=_xyz((1.0, 1.0, 1.0)))]
    for label, colour in enumerate(COLOURS if with_mask else (), start=1):
        components.append(dict(LABELLED, activeRegions=[label], diffuseStart=_xyz(colour), diffuseEnd=_xyz(colour)))
    function = {"blendingProfile": "MAXIMUM_OPACITY", "globalOpacity": 1.0, "densityScale": 100.0}
    return dict(PRESET, TransferFunction=dict(function, hiddenRegions=[], components=components))


def _xyz(colour: Any) -> Dict[str, float]:
    return {"x": colour[0], "y": colour[1], "z": colour[2]}


def _kind(path: Path) -> str:
    for kind in KINDS:
        if path.name.endswith(kind):
            return kind
    raise FinalFailure("publish: {} is not one of {}".format(path.name, ", ".join(KINDS)))


def _header(path: Path) -> mhd.Header:
    try:
        return mhd.read_header(path)
    except (OSError, mhd.VolumeError) as error:
        raise FinalFailure("publish: {}".format(error)) from None


def _same_grid(volume: Path, mask: Path) -> None:
    """NIfTI is not read here; the render server judges it."""
    if _kind(volume) != ".mhd" or _kind(mask) != ".mhd":
        return
    one, other = _header(volume), _header(mask)
    if one.size != other.size:
        raise FinalFailure("publish: the mask has size {}, the volume {}".format(other.size, one.size))
    for what, a, b in (("spacing", one.spacing, other.spacing), ("origin", one.origin, other.origin)):
        if any(abs(a[axis] - b[axis]) > TOLERANCE for axis in range(3)):
            raise FinalFailure("publish: the mask has {} {} mm, the volume {} mm".format(what, b, a))


def _copy(path: Path, folder: Path, name: str, suffix: str) -> str:
    """Copy a volume under the study's name; returns the name of the file that `config.meta` shall name."""
    kind = _kind(path)
    target = name + suffix + kind
    try:
        if kind != ".mhd":
            shutil.copyfile(path, folder / target)
            return target
        header = _header(path)
        data = name + suffix + (".zraw" if header.compressed else ".raw")
        shutil.copyfile(path.parent / header.data_file, folder / data)
        mhd.write_header(folder / target, header._replace(data_file=data))
    except OSError as error:
        raise FinalFailure("publish: {}: {}".format(error.filename or path.name, error.strerror or error)) from None
    return target


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Complete or not there: a reader that looks at the wrong moment finds no half file."""
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="ascii", newline="\n") as file:
        file.write(json.dumps(value, indent=1, allow_nan=False) + "\n")
    part.replace(path)
