"""recon-only and recon-ai, as shipped, on a made-up patient: the patient comes back, and so do the organs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy import ndimage
from support import run_stage

from clara_argo import phantom, project
from clara_argo.cli import main
from clara_argo.demo import samples
from clara_driver import volume

pytest.importorskip("skimage")
pytest.importorskip("onnxruntime")

SAME_ORGANS = 0.85  # Dice of what is found in the reconstruction and what is found in the CT itself
IDS = {"recon-only": "613e3fce-0d96-495a-a760-f43e68deefd8", "recon-ai": "21dd9b92-f307-4e68-ba31-fe8b1449ceea"}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sinogram of the patient of all samples."""
    folder = tmp_path_factory.mktemp("views")
    told = samples.lay(project.workflow(folder, "recon-only"), folder)
    assert "a sinogram of 240 views (fan beam)" in told
    return folder


def run(name: str, source: Path, folder: Path) -> tuple[volume.Header, NDArray[np.generic]]:
    """The volume that a shipped workflow, by its id, makes of the input."""
    graph = project.workflow(folder, IDS[name])
    assert graph.workflow.name == name
    file = project.shipped.folder("templates") / "workflows" / f"{name}.yaml"
    words = ["run", str(file), "--input", str(source), "--output", str(folder / "out")]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (path,) = (folder / "out").glob("*.mhd")
    return read(path)


def read(path: Path) -> tuple[volume.Header, NDArray[np.generic]]:
    header, content = volume.read(path)
    return header, np.frombuffer(content, header.dtype).reshape(header.size[::-1])


def test_recon_only_gives_the_patient_back(views: Path, tmp_path: Path) -> None:
    header, hu = run("recon-only", views, tmp_path)
    made = samples.patient()
    assert (header.size, header.spacing, header.origin) == ((80, 80, 40), (5.0, 5.0, 6.0), pytest.approx(made.origin))
    body = ndimage.binary_fill_holes(made.hu > -300)
    inner = ndimage.binary_erosion(body, np.ones((1, 5, 5)))  # 10 mm off the skin
    error = (hu.astype(float) - made.hu)[inner]
    print(f"RMSE {np.sqrt((error**2).mean()):.0f} HU, mean {error.mean():.1f}, median {np.median(error):.1f}")
    assert abs(np.median(error)) < 5 and np.sqrt((error**2).mean()) < 60
    moved = [
        np.abs(np.roll(hu, shift, axis).astype(float) - made.hu)[inner].mean() for axis in range(3) for shift in (1, -1)
    ]
    assert np.abs(error).mean() < 0.8 * min(moved), "another place fits better"


def test_recon_ai_finds_the_organs_that_are_found_in_the_ct(views: Path, tmp_path: Path) -> None:
    header, found = run("recon-ai", views, tmp_path)
    samples.lay(project.workflow(tmp_path, "ai-only"), tmp_path / "ct")
    done = run_stage("ct-organ-seg", input=tmp_path / "ct")
    assert done.code == 0, done.log
    (path,) = done.output.glob("*.mhd")
    expected, labels = read(path)
    assert header.size == expected.size and header.origin == pytest.approx(expected.origin)
    overlap = {name: phantom.dice(found, labels, value) for value, name in enumerate(phantom.ORGANS, 1)}
    print(", ".join(f"{name} {value:.3f}" for name, value in overlap.items()))
    assert min(overlap.values()) > SAME_ORGANS, overlap
    assert set(np.unique(labels)) >= {1, 2, 3, 4, 8, 9}  # or there would be little to compare
