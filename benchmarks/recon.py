"""ct-recon's reconstruction of a fan-beam slice against scikit-image's `iradon` of parallel views of the same image.

    python benchmarks/recon.py [--rounds 3] [--size 512] [--views 720]

The peer has what it wants: as many parallel views as the stage makes of the fan's, elements as wide as pixels, the
isocentre in the middle of a pixel. So the ratio is what a fan, any grid and any detector cost. Both images are compared
with the exact one in the same run. Both are measured in turn. Aim: at most 1.5 x.
Memory is the peak of the whole stage on 40 slices, over that on 4: one slice at a time makes no difference.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from skimage.transform import iradon

from clara_argo.phantom import sinogram
from clara_argo.phantom.sinogram import BODY, MU_WATER, Geometry
from clara_driver import contract, volume

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "stages" / "ct-recon"
RESULTS = ROOT / "benchmarks" / "results"
AIM = 1.5
sys.path.insert(0, str(STAGE))

MEMORY = """
import re, runpy
from pathlib import Path
runpy.run_path({program!r}, run_name="__main__")
print(re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1])
"""

reconstruct = importlib.import_module("reconstruct")  # a stage is no package; this is how its process sees it
sidecar = importlib.import_module("sidecar")


def fan(size: int, views: int) -> Geometry:
    pixel = 380 / size
    return Geometry(
        beam="fan", detector="curved", elements=736, element=1.05, shift=0.25, views=views, step=360 / views,
        size=(size, size), pixel=pixel,
    )  # fmt: skip


def ours(geometry: Geometry) -> Callable[[], Any]:
    header = volume.Header(size=(geometry.elements, geometry.views, 1))
    reconstruction = reconstruct.Reconstruction(sidecar.scan(sinogram.describe(geometry), header), "ramp")
    values = sinogram.of_ellipses(BODY, geometry)
    return lambda: reconstruction(values)


def peer(geometry: Geometry) -> tuple[Geometry, Callable[[], Any]]:
    """Parallel views, and the grid on which `iradon` draws them: pixel number size // 2 is the isocentre."""
    size, pixel, views = geometry.size[0], geometry.pixel, geometry.views // 2
    beside = (size // 2 - (size - 1) / 2) * -pixel
    parallel = replace(
        geometry, beam="parallel", elements=size + 1 - size % 2, element=pixel, shift=0.0, views=views,
        step=180 / views, centre=(beside, beside),
    )  # fmt: skip
    values = sinogram.of_ellipses(BODY, parallel).T / pixel
    angles = -parallel.step * np.arange(views)

    def run() -> Any:
        mu = iradon(values, theta=angles, output_size=size, filter_name="ramp", circle=False)
        return np.rint(1000 * (mu - MU_WATER) / MU_WATER)

    return parallel, run


def error(hu: Any, geometry: Geometry) -> float:
    """RMSE in the body, HU."""
    x, y = geometry.pixels()
    body = BODY[0].inside(x[None], y[:, None])
    return float(np.sqrt(((np.asarray(hu, float) - sinogram.image(BODY, geometry, 4))[body] ** 2).mean()))


def peak(slices: int) -> int:
    """KiB that the stage's process held at most (Linux)."""
    geometry = fan(128, 180)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        values = np.broadcast_to(sinogram.of_ellipses(BODY, geometry), (slices, geometry.views, geometry.elements))
        sinogram.write(folder / "in" / "s.mhd", values, geometry)
        variables = {contract.INPUT: f"{folder}/in", contract.OUTPUT: f"{folder}/out", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, "PYTHONPATH": f"{STAGE}:{ROOT / 'stages'}", **variables}
        program = MEMORY.format(program=str(STAGE / "main.py"))
        done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.PIPE)
    return int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--views", type=int, default=720)
    given = parser.parse_args()
    small, large = peak(4), peak(40)
    geometry = fan(given.size, given.views)
    grid, iradon_run = peer(geometry)
    contenders = {"ct-recon": (geometry, ours(geometry)), "iradon": (grid, iradon_run)}
    errors = {name: error(run(), where) for name, (where, run) in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(given.rounds):
        for name, (_, run) in contenders.items():
            used = time.process_time()
            run()
            seconds[name].append(time.process_time() - used)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    report = {
        "benchmark": "recon", "size": given.size, "views": given.views, "rounds": given.rounds,
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "skimage": version("scikit-image")},
        "cpu_seconds": medians, "ratio": medians["ct-recon"] / medians["iradon"], "aim": AIM,
        "rmse_hu_in_the_body": errors, "peak_memory_mib": {"4 slices": small >> 10, "40 slices": large >> 10},
    }  # fmt: skip
    for name, median in medians.items():
        print(f"{name:10}{median:8.3f} CPU s a slice   RMSE in the body {errors[name]:5.1f} HU")
    print(f"ratio {report['ratio']:.2f}, aim {AIM}; peak memory {small >> 10} MiB of 4 slices, {large >> 10} of 40")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "recon.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
