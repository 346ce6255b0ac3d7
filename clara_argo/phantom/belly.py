"""What is below the diaphragm: bowel without a label, and the seven labelled organs."""

from __future__ import annotations

from typing import Any

import numpy as np

from clara_argo.phantom.patient import (
    AORTA,
    GALLBLADDER,
    KIDNEY_LEFT,
    KIDNEY_RIGHT,
    LIVER,
    PANCREAS,
    SPINE_R,
    SPINE_Z,
    SPLEEN,
    STOMACH,
    VERTEBRAE,
    Patient,
    vector,
)
from clara_argo.phantom.shapes import Mask, Region


def bowel(p: Patient) -> None:
    """Lumps of tissue and vessels in the fat, and loops of small bowel."""
    c = p.canvas
    block = c.block((-1e4, -1e4, -330), (1e4, 1e4, 40))
    free = p.room[block] & (c.z[block] < p.diaphragm[block])
    c.paint(block, free & (p.coarse[block] > p.u(-0.6, 1.8)), 30 + p.n(12) + 10 * p.texture[block])
    vessels = free & (np.abs(p.texture[block]) < 0.10) & (c.y[block] < 30)
    c.paint(block, vessels, p.contrast(40, 120, 120, 30))
    for _ in range(int(p.rng.integers(10, 26))):
        centre = (p.u(-100, 100), p.u(-85, 20), p.u(-260, 5))
        radii = (p.u(12, 26), p.u(11, 22), p.u(12, 36))
        loop = c.ellipsoid(centre, radii, (p.u(0, 90), p.u(0, 90), p.u(0, 90)))
        _hollow(p, loop, p.room[loop.block], p.u(0.55, 0.85))


def colon(p: Patient) -> None:
    """Up on the right, across below the liver, up to the spleen, down on the left; keeps off labelled organs."""
    c, r, low = p.canvas, p.u(15, 26), p.u(-60, -15)
    right = [(-98, 20, -200), (-98, 15, -90), (-88, -5, p.u(-45, -15))]
    middle = [(-60, -62, low), (0, -74, low - 15), (55, -62, low + 15)]
    left = [(98, 10 + p.n(15), p.u(20, 75)), (108, 25, -30), (100, 28, -200)]
    points = right + middle + left
    for begin, end in zip(points[:-1], points[1:], strict=True):
        piece = c.tube((begin, end), (r * p.u(0.7, 1.1), r * p.u(0.7, 1.1)))
        _hollow(p, piece, p.belly_in(piece) & p.free(piece), p.u(0.7, 0.9))


def _hollow(p: Patient, loop: Region, allowed: Mask, lumen: float) -> None:
    """A piece of bowel: a wall, and fluid, gas, oral contrast, or stool with bubbles."""
    contents = ((p.u(5, 35), 12), (p.u(-40, 60), 40), (p.u(-900, -450), 60), (p.u(100, 400), 40), (p.u(-150, 0), 150))
    hu, lumps = contents[int(p.rng.choice(5, p=(0.35, 0.2, 0.15, 0.1, 0.2)))]
    mask = (loop.value < 1) & allowed
    p.canvas.paint(loop.block, mask, p.contrast(45, 80, 95, 15), 0)
    p.canvas.paint(loop.block, mask & (loop.value < lumen), hu + lumps * p.texture[loop.block], 0)


def spleen(p: Patient) -> None:
    """Under the left dome, hollowed where the stomach lies; mottled in the arterial phase."""
    c = p.canvas
    centre = vector(94 + p.n(7), 34 + p.n(10), p.dome_top - 84 + p.n(12))
    radii = (p.u(24, 38), p.u(36, 56), p.u(38, 66))
    body = c.ellipsoid(centre, radii, (p.n(10), p.n(10), p.u(10, 40)))
    mask = (body.value < 1) & p.belly_in(body) & p.free(body)
    mask &= ~_within(p, c.ellipsoid(centre - vector(38, 18, 0), (32, 40, 60)), body)
    mottled = p.u(0, 40) if p.phase == "arterial" else 5.0
    c.paint(body.block, mask, p.contrast(50, 140, 120, 25) + mottled * p.coarse[body.block], SPLEEN)


def _within(p: Patient, other: Region, region: Region) -> Mask:
    """The voxels of `region` that lie inside `other`."""
    whole = np.zeros(p.canvas.x.shape, bool)
    whole[other.block] = other.value < 1
    return whole[region.block]


def liver(p: Patient) -> None:
    """Two superellipsoids cut by diaphragm, wall and a hollow below, with vessels and sometimes cysts or metastases."""
    c, shift = p.canvas, vector(p.n(6), p.n(6), p.n(8))
    p.liver_shift = shift
    hu, grain = p.contrast(54, 70, 110, 16), p.u(2, 6)
    right = c.ellipsoid(
        vector(-76, 2, 38) + shift, (p.u(66, 90), p.u(72, 98), p.u(70, 104)), (p.n(6), p.n(8), p.n(6)), 2.3
    )
    left = c.ellipsoid(
        vector(-8, -44, 62) + shift, (p.u(52, 96), p.u(26, 44), p.u(26, 48)), (p.n(6), p.u(-5, 20), p.n(6))
    )
    hollow = c.ellipsoid(
        vector(p.u(-40, -18), p.u(10, 35), p.u(-50, -15)) + shift, (p.u(30, 50), p.u(30, 55), p.u(40, 60))
    )
    veins, bright = p.u(0.06, 0.14), hu + p.contrast(-8, 5, 45, 12)
    for part in (right, left):
        mask = (part.value < 1) & p.belly_in(part) & ~_within(p, hollow, part) & p.free(part, SPLEEN)
        c.paint(part.block, mask, hu + grain * p.texture[part.block], LIVER)
        c.paint(part.block, mask & (part.value < 0.8) & (np.abs(p.coarse[part.block]) < veins), bright)
    for _ in range(int(p.rng.integers(0, 4))):
        place, size, value = (p.u(-120, -30), p.u(-50, 50), p.u(-20, 100)), p.u(4, 18), p.u(0, 60)
        lesion = c.ellipsoid(place, (size, size, size))
        c.paint(lesion.block, (lesion.value < 1) & (c.labels[lesion.block] == LIVER), value)


def stomach(p: Patient) -> None:
    """A fundus under the left dome and a J tube; a wall, and food, fluid or contrast with gas above it."""
    c, place = p.canvas, vector(46 + p.n(10), -36 + p.n(8), p.dome_top - 68 + p.n(12))
    angles = (p.n(15), p.n(15), 0)
    fundus = c.ellipsoid(place + vector(10, 22, 16), (p.u(22, 42), p.u(22, 38), p.u(26, 46)), angles)
    path = [place + vector(*step) for step in ((8, 10, 0), (-5, -12, -32), (-42, -14, -52))]
    tube = c.tube(path, (p.u(18, 34), p.u(15, 30), p.u(11, 20)))
    wall, level, gas = p.contrast(45, 85, 90, 12), float(place[1]) + p.u(-50, 15), p.u(-950, -600)
    content, lumps = (p.u(120, 400) if p.chance(0.2) else p.u(-10, 70)), p.u(5, 60)
    over = (SPLEEN, LIVER, STOMACH) if p.chance(0.3) else (SPLEEN, STOMACH)
    masks = [(part.value < 1) & p.belly_in(part) & p.free(part, *over) for part in (fundus, tube)]
    for part, mask in zip((fundus, tube), masks, strict=True):
        c.paint(part.block, mask, wall, STOMACH)
    thick = p.u(0.5, 0.85)
    for part, mask in zip((fundus, tube), masks, strict=True):
        lumen = mask & (part.value < thick)
        c.paint(part.block, lumen, content + lumps * p.texture[part.block])
        c.paint(part.block, lumen & (c.y[part.block] < level), gas)


def kidneys(p: Patient) -> None:
    """Each in a capsule of fat that pushes the other organs away; cortex, medulla, sinus, sometimes a cyst."""
    drop = p.u(-14, 2)  # the right kidney sits lower
    back, radius = p.spine_y(-28), float(np.interp(-28, SPINE_Z, SPINE_R))
    for side, label in ((-1, KIDNEY_RIGHT), (1, KIDNEY_LEFT)):
        centre = vector(side * p.u(52, 68), back - radius + p.u(6, 24), -26 + p.n(11) + (drop if side < 0 else 0))
        radii = vector(p.u(22, 31), p.u(21, 30), p.u(44, 62))
        angles = (p.u(-15, 5), side * p.u(5, 18), p.n(12))
        _kidney(p, side, label, centre, radii, angles)


def _kidney(p: Patient, side: int, label: int, centre: Any, radii: Any, angles: tuple[float, float, float]) -> None:
    c = p.canvas
    whole = c.ellipsoid(centre, radii, angles, margin=1.3)
    taken = c.labels[whole.block]
    room = p.room[whole.block] & (taken != VERTEBRAE) & (taken != AORTA)
    c.paint(whole.block, (whole.value < p.u(1.1, 1.6)) & room, -100 + p.n(8), 0)
    cortex, medulla, wedges = p.contrast(32, 190, 190, 30), p.contrast(32, 110, 180, 25), p.u(0, 0.6)
    c.paint(whole.block, (whole.value < 1) & room, cortex + 6 * p.texture[whole.block], label)
    c.paint(whole.block, (whole.value < 0.55) & room & (np.abs(p.coarse[whole.block]) > wedges), medulla)
    sinus = c.ellipsoid(centre - vector(side * 12, 0, 0), radii * vector(0.6, 0.35, 0.45), angles)
    c.paint(sinus.block, (sinus.value < 1) & p.room[sinus.block], -90 + p.n(10) if p.chance(0.7) else p.u(0, 20), 0)
    place, size, value = centre + vector(side * 18, p.n(8), p.n(25)), p.u(5, 15), p.u(0, 20)
    if p.chance(0.2):
        cyst = c.ellipsoid(place, (size, size, size))
        c.paint(cyst.block, (cyst.value < 1) & (c.labels[cyst.block] == label), value)


def pancreas(p: Patient) -> None:
    """A lobed tube from the duodenum to the spleen, the splenic and portal vein behind it."""
    c, r = p.canvas, p.u(9.5, 15)
    base = vector(p.n(6), p.spine_y(6) - 20 - p.u(30, 44), 6 + p.n(10))
    tail = (p.u(68, 84), 26, p.u(22, 40))
    gland = c.tube(
        [base + vector(*step) for step in ((-34, 12, -26), (-26, 4, -6), (2, -8, 4), (40, 6, 16), tail)],
        (r * 1.4, r * 1.3, r, r * 0.95, r * 0.8),
    )
    free = p.room[gland.block] & p.free(gland)
    lobes = p.contrast(38, 100, 88, 18) + p.u(4, 20) * p.texture[gland.block]
    c.paint(gland.block, (gland.value < 1.45) & free, -95 + p.n(8))
    c.paint(gland.block, (gland.value < 1) & free, lobes, PANCREAS)
    behind = ((-44, 6, 48), (-12, 12, 10), (20, 12, 8), (44, 20, 16), (84, 36, 36))
    vein = c.tube([base + vector(*step) for step in behind], (7, 7, 5, 4.5, 4))
    c.paint(
        vein.block,
        (vein.value < 1) & p.free(vein, LIVER, PANCREAS) & p.room[vein.block],
        p.contrast(40, 90, 150, 40),
        0,
    )
    bend = ((-56, -8, 14), (-60, 8, -20), (-46, 22, -46), (10, 20, -50))
    duodenum = c.tube([base + vector(*step) for step in bend], (12, 12, 12, 12))
    _hollow(p, duodenum, p.room[duodenum.block] & p.free(duodenum), 0.6)


def gallbladder(p: Patient) -> None:
    """In its bed below the liver; one in ten has none."""
    c, centre = p.canvas, vector(-48, -44, -2) + p.liver_shift + vector(p.n(8), p.n(8), p.n(10))
    sac = c.ellipsoid(centre, (p.u(10, 18), p.u(10, 18), p.u(18, 34)), (p.u(-35, 15), p.n(14), 0))
    wall, bile = p.contrast(50, 60, 65, 8), 8 + p.n(7)
    if p.chance(0.1):
        return
    mask = (sac.value < 1) & p.room[sac.block] & p.free(sac, LIVER)
    c.paint(sac.block, mask, wall, GALLBLADDER)
    c.paint(sac.block, mask & (sac.value < 0.82), bile, GALLBLADDER)
