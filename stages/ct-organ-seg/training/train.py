"""Train the organ net on phantoms, one thread, and export it. The commands, seeds and versions stand in README.md.

    python train.py phantoms --folder DATA --seeds 0:479       # once; any number of processes, other seeds each
    python train.py net --data DATA --minutes 46 --seed 1 --out model.onnx

A training phantom is a whole patient, neck to pelvis, on the net's 5 mm voxels; each step takes windows of it at
random heights, so that scans of any range are seen. Needs torch and onnx beside the stage's own requirements.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[2])]

import preprocess  # noqa: E402

from clara_argo import phantom  # noqa: E402

GRID = (152, 80, 96)  # z, y, x: 760 x 400 x 480 mm of 5 mm
CENTRE = 50.0  # mm of the anatomy's z: pelvis to neck
WEIGHTS = (0.3, 1.0, 2.5, 2.5, 2.5, 6.0, 2.0, 5.0, 2.5, 1.0)  # rare organs count more
RATE = 4e-3
BATCH = 2  # with one window torch falls back to convolutions that take twice as long a window
AVERAGE = 0.995  # of the weights over the last steps: what is exported


def seeds(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last or int(first) + 1))


def make_phantoms(folder: Path, numbers: range) -> None:
    """One .npz a patient; noise is added while training."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in numbers:
        made = phantom.make(seed, GRID, (preprocess.STEP,) * 3, centre=CENTRE, noise=0)
        target = folder / f"{seed:06d}.npz"
        partial = target.with_suffix(".part")
        with open(partial, "wb") as file:
            np.savez(file, hu=made.hu, labels=made.labels)
        partial.rename(target)


class Patients:
    """The phantoms of a folder, kept in memory; new files are taken in as they appear."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: dict[str, tuple[NDArray[np.int16], NDArray[np.uint8]]] = {}

    def refresh(self) -> None:
        for path in sorted(self.folder.glob("*.npz")):
            if path.name not in self.kept:
                with np.load(path) as file:
                    self.kept[path.name] = (file["hu"], file["labels"])

    def window(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """A window of a random patient: HU and labels, [64, 64, 80]."""
        hu, labels = self.kept[sorted(self.kept)[int(rng.integers(len(self.kept)))]]
        # half of the windows look at the upper abdomen, the others anywhere; some scans are short
        anywhere = rng.random() < 0.5
        start = int(rng.integers(-4, GRID[0] - 60) if anywhere else rng.integers(28, 66))
        height = 64 if rng.random() < 0.7 else int(rng.integers(24, 65))
        low, high = max(start, 0), max(start, 0) + height
        image = hu[low:high].astype(np.float32)
        middle = preprocess.body_middle(image)
        middle = (middle[0] + int(rng.integers(-3, 4)), middle[1] + int(rng.integers(-3, 4)))
        first = min(start, 0) - (int(rng.integers(0, 65 - height)) if height < 64 else 0)
        window = preprocess.cut(image, first, middle, preprocess.AIR).astype(np.float32)
        return window, preprocess.cut(labels[low:high], first, middle, 0).astype(np.uint8)


def augment(rng: np.random.Generator, hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Other scanners: HU scaled and shifted, blurred or sharpened, noise of two grains."""
    from scipy.ndimage import gaussian_filter

    hu = hu * np.float32(rng.uniform(0.9, 1.1)) + np.float32(rng.uniform(-15, 15))
    if rng.random() < 0.4:
        soft = gaussian_filter(hu, rng.uniform(0.3, 0.9))
        hu = soft if rng.random() < 0.7 else hu + np.float32(0.5) * (hu - soft)
    hu += rng.standard_normal(hu.shape, np.float32) * np.float32(rng.uniform(0, 18))
    coarse = rng.standard_normal((16, 16, 20), np.float32) * np.float32(rng.uniform(0, 12))
    return hu + np.kron(coarse, np.ones((4, 4, 4), np.float32))


def loss_of(logits: Any, target: Any, weights: Any) -> Any:
    """Weighted cross-entropy plus soft Dice over the organs that are there or predicted."""
    import torch.nn.functional as F

    shares = logits.softmax(1)
    truth = F.one_hot(target, preprocess.CLASSES).permute(0, 4, 1, 2, 3).float()
    overlap = (shares * truth).sum((0, 2, 3, 4))
    total = shares.sum((0, 2, 3, 4)) + truth.sum((0, 2, 3, 4))
    dice = ((2 * overlap + 5) / (total + 5))[1:].mean()
    return F.cross_entropy(logits, target, weights) + 1 - dice


def train(
    data: Path, steps: int, minutes: float, seed: int, out: Path, threads: int, save_every: int, start: Path | None
) -> None:
    """At most `steps` steps in at most `minutes`; the learning rate falls with whichever is further on."""
    import torch
    from net import OrganNet

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    patients, net, average = Patients(data), OrganNet().to(memory_format=torch.channels_last_3d), OrganNet()
    if start is not None:
        for module in (net, average):
            module.load_state_dict(torch.load(start))
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-3)
    weights, losses, begin = torch.tensor(WEIGHTS), [], time.monotonic()
    for step in range(steps):
        share = max(step / steps, (time.monotonic() - begin) / (60 * minutes))
        if step % 100 == 0:
            patients.refresh()
        for group in optimiser.param_groups:
            group["lr"] = rate_at(share)
        image, target = batch(patients, rng)
        loss = loss_of(net(image), target, weights)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        follow(average, net, min(AVERAGE, step / (step + 10)))
        losses.append(float(loss.detach()))
        if step % 50 == 0:
            seconds = time.monotonic() - begin
            print(
                f"step {step} loss {np.mean(losses[-50:]):.3f} {seconds:.0f} s {len(patients.kept)} patients",
                flush=True,
            )
        last = step == steps - 1 or share >= 1
        if last or step % save_every == save_every - 1:
            torch.save(average.state_dict(), out.with_suffix(".pt"))
            export(average, out)
        if last:
            break
    print(f"{len(losses)} steps, {time.process_time():.0f} CPU s", flush=True)


def batch(patients: Patients, rng: np.random.Generator) -> tuple[Any, Any]:
    """Input values [n, 1, 64, 64, 80] and labels [n, 64, 64, 80]."""
    import torch

    windows = [patients.window(rng) for _ in range(BATCH)]
    images = np.stack([preprocess.normalise(augment(rng, hu)) for hu, _ in windows])
    return torch.from_numpy(images)[:, None], torch.from_numpy(
        np.stack([labels for _, labels in windows]).astype(np.int64)
    )


def follow(average: Any, net: Any, keep: float) -> None:
    """Move the averaged weights a little towards the net's."""
    import torch

    with torch.no_grad():
        for mine, other in zip(average.parameters(), net.parameters(), strict=True):
            mine.mul_(keep).add_(other, alpha=1 - keep)


def rate_at(share: float) -> float:
    """Warm-up, then a cosine down to nothing."""
    if share < 0.05:
        return RATE * share / 0.05 + 1e-5
    return RATE * 0.5 * (1 + math.cos(math.pi * (min(share, 1) - 0.05) / 0.95)) + 1e-5


def export(net: Any, out: Path) -> None:
    """ONNX with a uint8 label map as its output."""
    import torch
    from net import SIZE, Served

    torch.onnx.export(
        Served(net),
        (torch.zeros((1, 1, *SIZE)),),
        str(out),
        input_names=["INPUT"],
        output_names=["LABELS"],
        opset_version=18,
        dynamo=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("phantoms", help="make the training patients")
    one.add_argument("--folder", type=Path, required=True)
    one.add_argument("--seeds", type=seeds, default=range(400))
    two = commands.add_parser("net", help="train and export")
    two.add_argument("--data", type=Path, required=True)
    two.add_argument("--steps", type=int, default=4000)
    two.add_argument("--minutes", type=float, default=1e6)
    two.add_argument("--seed", type=int, default=0)
    two.add_argument("--start", type=Path, help="weights (.pt) to go on from")
    two.add_argument("--threads", type=int, default=1)
    two.add_argument("--save-every", type=int, default=500)
    two.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "phantoms":
        make_phantoms(args.folder, args.seeds)
    else:
        train(args.data, args.steps, args.minutes, args.seed, args.out, args.threads, args.save_every, args.start)


if __name__ == "__main__":
    main()
