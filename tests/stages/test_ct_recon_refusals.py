"""ct-recon as a process: a volume as dicom-reader writes it, the same bytes; what is no sinogram is refused by name."""

from __future__ import annotations

import copy
import json
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import CompletedStage, run_stage

from clara_argo.phantom import sinogram
from clara_argo.phantom.sinogram import BODY, Geometry
from clara_driver import volume

pytest.importorskip("skimage")

FLAT = Geometry(beam="fan", elements=240, element=3.2, views=360)

SMALL = Geometry(elements=80, element=5.0, views=90, step=2.0, size=(50, 40), pixel=8.0)
TURNED = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]  # sagittal: i to the back, j to the head, k to the left


def values(geometry: Geometry = SMALL) -> NDArray[np.float64]:
    """Two slices: the body, and the body without its mark."""
    return np.stack([sinogram.of_ellipses(BODY, geometry), sinogram.of_ellipses(BODY[:-1], geometry)])


def lay(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda beside: None, **header: Any) -> dict[str, Any]:
    """A sinogram of two slices whose sidecar and header are changed."""
    folder.mkdir(parents=True, exist_ok=True)
    sinogram.write(folder / "s.mhd", values(), SMALL, isocentre=(1.0, 2.0, 3.0), slice_spacing=4.0)
    beside = json.loads((folder / "s.json").read_text())
    change(beside)
    (folder / "s.json").write_text(json.dumps(beside))
    if header:
        volume.write_header(folder / "s.mhd", volume.read_header(folder / "s.mhd")._replace(**header))
    return dict(beside)


def hu_of(done: CompletedStage, name: str = "s") -> tuple[volume.Header, NDArray[np.int16]]:
    header, content = volume.read(done.output / f"{name}.mhd")
    return header, np.frombuffer(content, np.int16).reshape(header.size[::-1])


def test_a_volume_as_dicom_reader_writes_it(tmp_path: Path) -> None:
    lay(tmp_path / "in", lambda beside: beside["slices"].update(direction=TURNED))
    done = run_stage("ct-recon", input=tmp_path / "in")
    assert done.code == 0, done.log
    header, hu = hu_of(done)
    assert header._replace(data_file="") == volume.Header(
        size=(50, 40, 2), spacing=(8.0, 8.0, 4.0), direction=tuple(TURNED), origin=(1.0, 2.0 - 196, 3.0 - 156)
    )
    beside = volume.read_sidecar(done.output / "s.mhd")
    assert beside is not None and "instances" not in beside
    assert (beside["kind"], beside["values"]) == ("image", {"unit": "HU", "element": "MET_SHORT"})
    assert beside["series"] == {"Modality": "CT", "PatientPosition": "HFS"}
    assert beside["geometry"]["direction"] == TURNED and beside["warnings"] == []
    assert "90 parallel-beam views" in beside["derivation"]
    assert done.locks == ["ct-recon.lock", "input.lock"] and done.progress == "2/2"
    x, y = SMALL.pixels()
    mark = np.abs(y - 42).argmin(), np.abs(x - 88).argmin()
    assert hu[0][mark] > hu[1][mark] + 100


def test_same_bytes_again_also_of_big_endian_doubles_in_another_folder(tmp_path: Path) -> None:
    """Beside them a label map, which is passed over, and an object wider than its detector, which is said."""
    lay(tmp_path / "in")
    first = run_stage("ct-recon", input=tmp_path / "in", args=["--filter", "hann"])
    lay(tmp_path / "again" / "a", element="MET_DOUBLE", big_endian=True)
    (tmp_path / "again" / "a" / "s.raw").write_bytes(values().astype("<f4").astype(">f8").tobytes())
    lay(tmp_path / "again" / "labels")
    volume.write_sidecar(tmp_path / "again" / "labels" / "s.mhd", {"kind": "labels"})
    narrow = replace(SMALL, elements=40)
    sinogram.write(tmp_path / "again" / "narrow.mhd", values(narrow), narrow)
    second = run_stage("ct-recon", input=tmp_path / "again", args=["--filter", "hann"])
    assert (first.code, second.code) == (0, 0), first.log + second.log
    assert {str(path.relative_to(second.output)) for path in second.output.rglob("*.mhd")} == {"a/s.mhd", "narrow.mhd"}
    for name in ("s.mhd", "s.raw", "s.json"):
        assert (second.output / "a" / name).read_bytes() == (first.output / name).read_bytes()
    warned = json.loads((second.output / "narrow.json").read_text())["warnings"]
    assert [warning["code"] for warning in warned] == ["W_CUT_OFF"] and "in 2 slice(s)" in second.log
    assert second.progress == "4/4"


def test_few_views_are_said(recon: types.SimpleNamespace) -> None:
    few, enough = replace(SMALL, views=6, step=30.0), SMALL
    for geometry, codes in ((few, ["W_FEW_VIEWS"]), (enough, [])):
        scan = recon.sidecar.scan(sinogram.describe(geometry), volume.Header(size=(80, geometry.views, 1)))
        assert [warning["code"] for warning in recon.reconstruct.warned(scan, 0)] == codes


# -- what it refuses ---------------------------------------------------------------------------------------------


def refused(done: CompletedStage, *words: str) -> None:
    assert done.code == 1, done.log
    assert "Traceback" not in done.log
    assert all(word in done.error for word in words), done.error
    assert "ct-recon.lock" not in done.locks and not list(done.output.rglob("*.mhd"))


def test_nothing_to_reconstruct(tmp_path: Path) -> None:
    refused(run_stage("ct-recon", input=tmp_path), "E_NO_SINOGRAM", "README.md")


def test_not_finite(tmp_path: Path) -> None:
    lay(tmp_path)
    broken = values().astype("<f4")
    broken[0, 5, 7] = np.nan
    (tmp_path / "s.raw").write_bytes(broken.tobytes())
    refused(run_stage("ct-recon", input=tmp_path), "s.mhd: E_NOT_FINITE", "slice 0")


def test_intensities(recon: types.SimpleNamespace) -> None:
    counts = (60000 * np.exp(-values()[0])).astype("<f4").tobytes()
    header = volume.Header(size=(80, 90, 1), element="MET_FLOAT")
    with pytest.raises(recon.refusal.Refuse, match="E_NOT_LINE_INTEGRALS.*no intensities"):
        recon.lines.read(counts, header, 0)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"[" * 100_000], ids=["cut", "list", "bytes", "deep"])
def test_a_sidecar_that_is_no_json_object(content: bytes, recon: types.SimpleNamespace, tmp_path: Path) -> None:
    lay(tmp_path)
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(volume.VolumeError, match=r"s\.json"):
        recon.sidecar.read(tmp_path / "s.mhd", volume.read_header(tmp_path / "s.mhd"))


@pytest.mark.parametrize(
    ("code", "header"),
    [
        ("E_ELEMENT", {"element": "MET_SHORT"}),
        ("E_COMPRESSED", {"compressed": True}),
        ("E_DATA", {"size": (80, 90, 3)}),
        ("E_CONTRADICTION: ElementSpacing", {"spacing": (5.0, 2.0, 3.0)}),
    ],
)
def test_a_header_that_does_not_fit(
    code: str, header: dict[str, Any], recon: types.SimpleNamespace, tmp_path: Path
) -> None:
    lay(tmp_path, **header)
    path, read = tmp_path / "s.mhd", volume.read_header(tmp_path / "s.mhd")
    with pytest.raises(recon.refusal.Refuse, match=code):
        recon.lines.check(path, read)
        recon.sidecar.read(path, read)


def test_no_sidecar_and_one_that_is_too_long(recon: types.SimpleNamespace, tmp_path: Path) -> None:
    lay(tmp_path)
    with open(tmp_path / "s.json", "r+b") as file:
        file.truncate(1 << 21)
    with pytest.raises(recon.refusal.Refuse, match=r"E_SIDECAR: s\.json is longer"):
        recon.sidecar.read(tmp_path / "s.mhd", volume.read_header(tmp_path / "s.mhd"))
    (tmp_path / "s.json").unlink()
    refused(run_stage("ct-recon", input=tmp_path), "s.mhd: E_NO_SIDECAR", "s.json")


@pytest.mark.long
def test_a_full_disk_may_be_tried_again(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is not here: no disk to fill")
    lay(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "s.raw").symlink_to("/dev/full")
    done = run_stage("ct-recon", input=tmp_path / "in", output=tmp_path / "out")
    assert done.code == 75, done.log
    assert "no space for" in done.error


HEADER = volume.Header(size=(FLAT.elements, FLAT.views, 5))
WRONG: dict[str, tuple[str, str, Any]] = {  # what: code, key, value (... takes it away)
    "another schema": ("E_VALUE", "schema", 2),
    "no beam": ("E_MISSING", "beam", ...),
    "a cone": ("E_VALUE", "beam", "cone"),
    "distances of a parallel beam": ("E_CONTRADICTION", "beam", "parallel"),
    "a distance less": ("E_MISSING", "source_detector", ...),
    "exchanged distances": ("E_CONTRADICTION", "source_isocentre", 1200),
    "metres": ("E_VALUE", "source_isocentre", 0.57),
    "micrometres": ("E_VALUE", "source_detector", 1_040_000),
    "no detector": ("E_MISSING", "detector", ...),
    "a list": ("E_SIDECAR", "detector", [1]),
    "no shape": ("E_MISSING", "detector.shape", ...),
    "a round detector": ("E_VALUE", "detector.shape", "round"),
    "nan": ("E_VALUE", "detector.spacing", float("nan")),
    "infinity": ("E_VALUE", "detector.spacing", float("inf")),
    "beyond all numbers": ("E_VALUE", "detector.spacing", 10**400),
    "below zero": ("E_VALUE", "detector.spacing", -1),
    "true": ("E_VALUE", "detector.spacing", True),
    "text": ("E_VALUE", "detector.spacing", "1"),
    "a fan of half a turn": ("E_VALUE", "detector.spacing", 90),
    "a centre beside the detector": ("E_VALUE", "detector.centre", 240),
    "no step": ("E_MISSING", "angles.step", ...),
    "a step of nothing": ("E_VALUE", "angles.step", 0),
    "a step of a third of a turn": ("E_VALUE", "angles.step", 120),
    "too few views": ("E_ANGLES", "angles.step", 0.55),
    "water of lead": ("E_VALUE", "mu_water", 1.3),
    "water per centimetre": ("E_VALUE", "mu_water", 0.192),
    "water missing": ("E_MISSING", "mu_water", ...),
    "half a pixel": ("E_VALUE", "volume.size", [12.5, 12]),
    "three pixels": ("E_VALUE", "volume.size", [1, 2, 3]),
    "no pixels": ("E_VALUE", "volume.size", [0, 12]),
    "pixels of nothing": ("E_VALUE", "volume.spacing", 0),
    "more pixels than memory": ("E_VALUE", "volume.size", [100_000, 100_000]),
    "a centre without y": ("E_VALUE", "volume.centre", [1]),
    "no isocentre": ("E_MISSING", "slices.isocentre", ...),
    "an isocentre of texts": ("E_VALUE", "slices.isocentre", ["a", "b", "c"]),
    "crooked": ("E_VALUE", "slices.direction", [1, 0.1, 0, 0, 1, 0, 0, 0, 1]),
    "left-handed": ("E_VALUE", "slices.direction", [1, 0, 0, 0, 1, 0, 0, 0, -1]),
    "an unknown key": ("E_UNKNOWN_KEY", "detector.center", 3),
    "another unknown key": ("E_UNKNOWN_KEY", "mu", 0.02),
    "no uid": ("E_VALUE", "series.StudyInstanceUID", "1.2; rm"),
    "a long uid": ("E_VALUE", "series.StudyInstanceUID", "1." + "2" * 64),
    "a name": ("E_UNKNOWN_KEY", "series.PatientName", "x"),
    "another modality": ("E_CONTRADICTION", "series.Modality", "MR"),
}


def changed(key: str, value: Any) -> dict[str, Any]:
    beside = copy.deepcopy(sinogram.describe(FLAT))
    *folders, last = key.split(".")
    part = beside
    for name in folders:
        part = part[name]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return beside


@pytest.mark.parametrize("what", WRONG)
def test_a_sidecar_that_makes_no_sense(what: str, recon: types.SimpleNamespace) -> None:
    code, key, value = WRONG[what]
    with pytest.raises(recon.refusal.Refuse) as caught:
        recon.rebin.prepare(recon.sidecar.scan(changed(key, value), HEADER))
    assert caught.value.code == code, caught.value
    assert key.rpartition(".")[2] in str(caught.value) or code in (
        "E_ANGLES",
        "E_TOO_LARGE",
        "E_CONTRADICTION",
        "E_VALUE",
    )
    assert "\n" not in str(caught.value)


def test_more_than_is_reconstructed(recon: types.SimpleNamespace) -> None:
    for size in ((20_000, 360, 1), (240, 20_000, 1), (240, 360, 9000), (16_000, 16_000, 1)):
        with pytest.raises(recon.refusal.Refuse, match="E_TOO_LARGE"):
            recon.sidecar.scan(sinogram.describe(FLAT), volume.Header(size=size))
    beside = changed("volume.spacing", 0.01) | {"angles": {"first": 0, "step": 0.25}}
    fine = recon.sidecar.scan(beside, volume.Header(size=(240, 1440, 1)))
    with pytest.raises(recon.refusal.Refuse, match="E_TOO_LARGE: detector and views"):
        recon.rebin.prepare(fine)
    with pytest.raises(recon.refusal.Refuse, match="E_TOO_LARGE: the volume"):
        recon.sidecar.scan(changed("volume.size", [2000, 2000]), volume.Header(size=(240, 360, 8000)))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**30), 10**30) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = [
    *sinogram.describe(FLAT), *(f"{part}.{key}" for part, inside in sinogram.describe(FLAT).items()
                                if isinstance(inside, dict) for key in inside),
]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(key=st.sampled_from(PLACES), value=JSON | st.floats(-50, 2000) | st.lists(st.floats(-2, 3), max_size=9))
def test_any_value_is_taken_or_refused(recon: types.SimpleNamespace, key: str, value: Any) -> None:
    try:
        scan = recon.sidecar.scan(changed(key, value), HEADER)
        recon.rebin.prepare(scan)
    except recon.refusal.Refuse as refused:
        assert refused.code.startswith("E_") and "\n" not in str(refused)
    else:
        assert scan.radius > 0 and np.isfinite(scan.origin).all()
