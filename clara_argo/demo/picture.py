"""A CT with its organs in colour, as one PNG: axial, coronal and sagittal plane, and a legend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clara_argo.demo.grid import upright

WINDOW = (-160.0, 240.0)  # HU, soft tissue
HEIGHT = 512  # of each plane, pixels
GAP, HEAD, FOOT, LEGEND = 12, 44, 34, 230
BACK, INK, SOFT = (16, 18, 22), (235, 238, 242), (150, 158, 168)

Pixels = NDArray[np.uint8]


def draw(
    path: Path,
    image: NDArray[Any],
    labels: NDArray[Any],
    affine: NDArray[np.float64],
    segments: list[dict[str, Any]],
    title: str,
) -> None:
    """`image` (HU) and `labels` are indexed [i, j, k] on one grid; `segments` as in the sidecar of labels."""
    hu, spacing = upright(image, affine)
    organs, _ = upright(labels, affine)
    centre = _centre(organs)
    views = [("axial", *_axial(hu, organs, centre[2], spacing)), ("coronal", *_coronal(hu, organs, centre[1], spacing))]
    views.append(("sagittal", *_sagittal(hu, organs, centre[0], spacing)))
    planes = [
        (name, _scaled(_coloured(grey, label, segments), aspect), marks) for name, grey, label, aspect, marks in views
    ]
    width = sum(plane.width + GAP for _, plane, _ in planes) + GAP + LEGEND
    sheet = Image.new("RGB", (width, HEAD + HEIGHT + FOOT), BACK)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 12), title, INK, font=ImageFont.load_default(18))
    left = GAP
    for name, plane, marks in planes:
        sheet.paste(plane, (left, HEAD))
        _mark(pen, (left, HEAD, plane.width, plane.height), name, marks)
        left += plane.width + GAP
    _legend(pen, left, segments)
    pen.text((GAP, HEAD + HEIGHT + 9), "Not for clinical use. Planes through the middle of what was found.", SOFT)
    sheet.save(path)


def _centre(organs: NDArray[Any]) -> list[int]:
    """Per axis: among the planes that cut well through the largest organ, the one that shows the most organs."""
    tables = [_areas(organs, axis) for axis in range(3)]  # [plane, value]
    largest = int(tables[0][:, 1:].sum(axis=0).argmax()) + 1
    best = []
    for table in tables:
        main, kinds = table[:, largest], (table[:, 1:] > 0).sum(axis=1)
        best.append(int(np.argmax(np.where(2 * main >= main.max(), kinds + main / max(main.max(), 1), 0))))
    return best if tables[0][:, 1:].any() else [size // 2 for size in organs.shape]


def _areas(organs: NDArray[Any], axis: int) -> NDArray[np.int64]:
    """Voxels of each value in each plane across `axis`."""
    planes = np.moveaxis(organs, axis, 0)
    return np.stack([np.bincount(plane.ravel(order="K"), minlength=256) for plane in planes])


def _axial(hu: Any, organs: Any, at: int, spacing: Any) -> tuple[Any, Any, float, str]:
    return hu[:, :, at].T, organs[:, :, at].T, spacing[1] / spacing[0], "RLAP"


def _coronal(hu: Any, organs: Any, at: int, spacing: Any) -> tuple[Any, Any, float, str]:
    return hu[:, at, ::-1].T, organs[:, at, ::-1].T, spacing[2] / spacing[0], "RLHF"


def _sagittal(hu: Any, organs: Any, at: int, spacing: Any) -> tuple[Any, Any, float, str]:
    return hu[at, :, ::-1].T, organs[at, :, ::-1].T, spacing[2] / spacing[1], "APHF"


def _coloured(hu: NDArray[Any], organs: NDArray[Any], segments: list[dict[str, Any]]) -> Pixels:
    grey = np.clip((hu.astype(np.float32) - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1) * 255
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    for segment in segments:
        inside = organs == segment["value"]
        colour = np.array(segment["color"], np.float32)
        pixels[inside] = 0.55 * pixels[inside] + 0.45 * colour
        pixels[inside & ~_eroded(inside)] = colour
    out: Pixels = pixels.astype(np.uint8)
    return out


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without its outermost pixels: what is left over is the outline."""
    padded = np.pad(mask, 1)
    return padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _scaled(pixels: Pixels, aspect: float) -> Image.Image:
    """`aspect`: height of a pixel over its width."""
    rows, columns = pixels.shape[:2]
    width = max(1, round(HEIGHT * columns / (rows * aspect)))
    return Image.fromarray(pixels).resize((min(width, 3 * HEIGHT), HEIGHT), Image.Resampling.BILINEAR)


def _mark(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], name: str, marks: str) -> None:
    x, y, width, height = box
    font = ImageFont.load_default(14)

    def write(left: int, top: int, text: str, ink: tuple[int, int, int]) -> None:
        pen.text((x + left, y + top), text, ink, font=font, stroke_width=2, stroke_fill=BACK)

    write(6, 4, name, SOFT)
    write(6, height // 2, marks[0], INK)
    write(width - 16, height // 2, marks[1], INK)
    write(width // 2, 4, marks[2], INK)
    write(width // 2, height - 20, marks[3], INK)


def _legend(pen: ImageDraw.ImageDraw, left: int, segments: list[dict[str, Any]]) -> None:
    font = ImageFont.load_default(15)
    for row, segment in enumerate(segments):
        top = HEAD + 6 + row * 28
        found = segment.get("volume_ml", 0) > 0
        pen.rectangle((left, top, left + 18, top + 18), fill=tuple(segment["color"]) if found else None, outline=SOFT)
        amount = f"{segment['volume_ml']:.0f} ml" if found else "not found"
        pen.text((left + 28, top), f"{segment['label']}  {amount}", INK if found else SOFT, font=font)
