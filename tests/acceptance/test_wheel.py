"""The built wheel, outside the clone: the command, the shipped files, and a workflow that runs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from clara_argo import phantom

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, capture_output=True, check=True, timeout=200)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel; in front of the checkout on the path of whoever runs there."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--no-index", "--target", str(folder), str(wheel)], check=True, timeout=200)
    return folder


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed), "CLARA_HOME": str(cwd / "home")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=200, check=False
    )


def test_everything_is_shipped_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"clara_argo", "clara_adapter", "clara_driver"}
    shipped = {name.removeprefix("clara_argo/_shipped/") for name in names if "_shipped/" in name}
    for stage in ("dicom-reader", "ct-organ-seg", "ct-recon", "dicom-writer"):
        assert {f"stages/{stage}/stage.yaml", f"stages/{stage}/main.py"} <= shipped
    assert {"stages/ct-organ-seg/models/ct-organs/1/model.onnx", "templates/workflows/ct-organs.yaml"} <= shipped
    assert {"templates/sdk/clara.yaml", "templates/sdk/clara-platform/files/dicom-server-config.yaml"} <= shipped
    assert {f"templates/charts/{name}/templates/_helpers.tpl" for name in ("workflow", "platform")} <= shipped
    scripts = next(name for name in names if name.endswith(".dist-info/entry_points.txt"))
    assert "clara-wf = clara_argo.cli.clara_wf:main" in zipfile.ZipFile(wheel).read(scripts).decode()
    assert {"manifests/overlays/kind/kustomization.yaml", "manifests/credentials/s3.env.example"} <= shipped
    assert {"stages/shim/clara/driver.py", "stages/shim/clara/logging/perf_logger.py"} <= shipped
    assert "manifests/credentials/s3.env" not in shipped
    assert {"stages/dicom-reader/Dockerfile", "adapter/Dockerfile", "adapter/constraints.txt"} <= shipped
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_the_wheel_runs_a_workflow_outside_the_clone(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import clara_argo, clara_adapter, clara_driver as d; print(d.__file__)")
    assert where.stdout.startswith(str(installed)), where.stderr
    made = run(installed, tmp_path, "-m", "clara_argo", "init", "mine")
    assert made.returncode == 0, made.stderr
    phantom.write_series(phantom.make(3, (12, 48, 48), (10.0, 8.0, 8.0)), tmp_path / "ct", seed=3)
    workflow = str(tmp_path / "mine" / "workflow.yaml")
    done = run(installed, tmp_path, "-m", "clara_argo", "run", workflow, "--input", "ct", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_images_can_be_built_without_the_clone(installed: Path, tmp_path: Path) -> None:
    """What a build context holds is the same as in the checkout."""
    for name in ("ct-organ-seg", "adapter"):
        folder = tmp_path / name
        made = run(installed, tmp_path, "-m", "clara_argo", "images", "context", name, str(folder))
        assert made.returncode == 0, made.stderr
        expected = tmp_path / f"{name}-of-the-checkout"
        done = subprocess.run(
            [sys.executable, "-m", "clara_argo", "images", "context", name, str(expected)],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert _files(expected) and _files(expected) <= _files(folder)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_light_install_says_what_is_missing(installed: Path, tmp_path: Path) -> None:
    """Without the stages' libraries: -S leaves out site-packages, so only the wheel, click and PyYAML are there."""
    import click
    import yaml

    light = tmp_path / "light"
    light.mkdir()
    for package in (click, yaml):
        assert package.__file__
        source = Path(package.__file__).parent
        (light / source.name).symlink_to(source)
    env = {"PYTHONPATH": f"{installed}:{light}", "PATH": os.environ["PATH"], "CLARA_HOME": str(tmp_path / "home")}

    def clara(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", "-m", "clara_argo", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert clara("init", "mine").returncode == 0
    assert clara("lint", "mine/workflow.yaml").returncode == 0
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "a.dcm").write_bytes(b"x")
    for words in (("run", "mine/workflow.yaml", "--input", "ct", "--output", "out"), ("demo",)):
        missing = clara(*words)
        assert missing.returncode == 3 and "clara-argo[local]" in missing.stderr, missing.stderr
