"""Arms and shoulders, lungs, heart, airways, neck: everything above the diaphragm, none of it labelled."""

from __future__ import annotations

import numpy as np

from clara_argo.phantom.patient import Patient
from clara_argo.phantom.shapes import Region


def arms(p: Patient) -> None:
    """Beside the trunk, above the head (seen beside the neck), or out of the picture; shoulders always."""
    half, fat, girth, bend = float(p.half[0]), p.u(6, 16), p.u(36, 50), p.u(-10, 30)
    for side in (-1, 1):
        shoulder = (side * half * 1.02, 12.0, 305.0)
        elbow = {
            "down": (side * (half + girth + 2), 20.0 + bend, -20.0),
            "up": (side * half * 0.95, -10.0 - bend, 520.0),
        }.get(p.arms)
        limbs = [(shoulder, (shoulder[0] * 0.75, 20.0, 330.0))] + ([(shoulder, elbow)] if elbow else [])
        if p.arms == "down" and elbow:
            limbs.append((elbow, (elbow[0] * 0.95, elbow[1] - 30, -300.0)))
        for begin, end in limbs:
            _limb(p, p.canvas.tube((begin, end), (girth, girth * 0.9)), fat / girth)
        _shoulder_bones(p, side, half)


def _limb(p: Patient, limb: Region, fat: float) -> None:
    c, r = p.canvas, np.sqrt(limb.value)
    c.paint(limb.block, (r < 1) & ~p.inside[limb.block], -100 + p.n(8))
    c.paint(limb.block, r < 1 - fat, 50 + p.n(8) + 8 * p.texture[limb.block])
    c.paint(limb.block, r < 0.30, 200 + p.n(60))
    c.paint(limb.block, (r < 0.30) & (r > 0.2), 700 + p.n(150))
    p.inside[limb.block] |= r < 1


def _shoulder_bones(p: Patient, side: int, half: float) -> None:
    c, bone = p.canvas, p.u(250, 450)
    blade = c.ellipsoid((side * half * 0.66, 62, 255), (8, 14, 60), (0, 20 * side, 40 * side))
    collar = c.tube(((side * 12, -58, 300), (side * half * 0.95, 0, 325)), (8, 8))
    head = c.ellipsoid((side * half * 0.98, 10, 305), (23, 23, 23))
    for part in (blade, collar, head):
        c.paint(part.block, (part.value < 1) & p.inside[part.block], bone + 60 * p.texture[part.block])


def lungs(p: Patient) -> None:
    """Lungs above the diaphragm, the mediastinum between them; sometimes fluid at the back."""
    c, apex = p.canvas, p.u(270, 305)
    block = c.block((-1e4, -1e4, -80), (1e4, 1e4, apex))
    x, y, z = c.x[block], c.y[block], c.z[block]
    top = np.clip((z - 190) / np.float32(apex - 190), 0, 1)
    lung = p.room[block] & (p.room_radius[block] < p.wall * np.sqrt(1 - top**2 * np.float32(0.9)))
    lung &= z > p.diaphragm[block]
    width, centre = p.u(26, 40), p.n(5) + 6
    middle = ((x - np.float32(centre)) / np.float32(width)) ** 2 + ((y + 5) / np.float32(95)) ** 2 < 1
    room = p.room[block] & (z > p.diaphragm[block])
    c.paint(block, room & middle, -20 + 45 * p.coarse[block])
    air, vessels = p.u(-890, -770), p.u(1.3, 1.9)
    filled = air + 35 * p.texture[block]
    filled[p.texture[block] > vessels] = p.u(-250, 150)
    c.paint(block, lung & ~middle, filled)
    back, level, fluid = p.u(50, 80), p.u(60, 130), p.u(0, 50)
    if p.chance(0.25):
        c.paint(block, lung & ~middle & (y > back) & (z < level), fluid)
    p.middle_x = centre


def heart(p: Patient) -> None:
    """Fat, muscle, chambers, left atrium, pulmonary trunk, upper vena cava: bright like the aorta in contrast."""
    c = p.canvas
    centre = (24 + p.n(7), -30 + p.n(7), p.dome_top + p.u(22, 42))
    heart = c.ellipsoid(centre, (p.u(50, 66), p.u(42, 54), p.u(40, 54)), (0, p.u(10, 30), 0))
    free = (c.z[heart.block] > p.diaphragm[heart.block] - 6) & p.room[heart.block]
    c.paint(heart.block, (heart.value < 1) & free, -90 + p.n(10))
    c.paint(heart.block, (heart.value < 0.86) & free, p.contrast(45, 110, 110, 12))
    left, right = p.contrast(40, 300, 160, 45), p.contrast(40, 250, 150, 90)
    chamber = np.abs(p.coarse[heart.block]) > p.u(0.05, 0.4)
    side = np.where(c.x[heart.block] > centre[0], np.float32(left), np.float32(right))
    c.paint(heart.block, (heart.value < 0.75) & chamber & free, side)
    atrium = c.ellipsoid((centre[0] - 16, centre[1] + 40, centre[2] + 14), (p.u(22, 34), p.u(14, 22), p.u(18, 28)))
    c.paint(atrium.block, (atrium.value < 1) & p.room[atrium.block], left)
    for at in (-1, 1):  # vessels to the lungs
        start, end = (centre[0] - 12, centre[1] + 30, centre[2] + 30), (centre[0] - 12 + at * 62, 18, centre[2] + 36)
        root = c.tube((start, end), (12, 6))
        c.paint(root.block, root.value < 1, right)
    trunk = c.tube((centre, (centre[0] - 2, centre[1] + 6, 212)), (24, 13))
    c.paint(trunk.block, trunk.value < 1, right)
    cava = c.tube(((centre[0] - 42, centre[1] + 12, centre[2] + 20), (-26, p.spine_front(270, 40), 275)), (10, 8))
    c.paint(cava.block, cava.value < 1, p.contrast(40, 350, 160, 150))
    p.heart = centre


def airways(p: Patient) -> None:
    """Windpipe, main bronchi, gullet; in the neck thyroid, muscles and a larynx of gristle."""
    c, x, y = p.canvas, p.middle_x, p.spine_y(250) - 34
    neck = c.block((-60, -1e4, 325), (60, 1e4, 1e4))
    lean = (p.radius[neck] < 0.93) & (p.coarse[neck] > p.u(-1.5, -0.3)) & p.inside[neck]
    c.paint(neck, lean, 52 + p.n(8) + 10 * p.texture[neck])
    lobes, glow = (p.u(7, 12), p.u(18, 30)), p.contrast(95, 180, 150, 30)
    for side in (-1, 1):
        lobe = c.ellipsoid((x - 6 + side * 19, y - 12, 345), (lobes[0], 11, lobes[1]))
        c.paint(lobe.block, (lobe.value < 1) & p.inside[lobe.block], glow)
    larynx = c.tube(((x - 6, y - 12, 375), (x - 6, y - 14, 420)), (17, 17))
    c.paint(larynx.block, (larynx.value < 1) & p.inside[larynx.block], 90 + p.n(40))
    gullet = c.tube(((x + 4, y + 12, 540), (x + 6, y + 13, 200), (x + 22, y - 10, p.dome_top - 20)), (8, 8, 9))
    c.paint(gullet.block, gullet.value < 1, 40 + p.n(8))
    windpipe = c.tube(((x - 6, y, 205), (x - 6, y - 8, 320), (x - 6, y - 14, 540)), (8, 9, 9))
    c.paint(windpipe.block, windpipe.value < 1, -980)
    for side in (-1, 1):
        bronchus = c.tube(((x - 6, y, 208), (x - 6 + side * 45, y + 6, 165)), (6.5, 5))
        c.paint(bronchus.block, bronchus.value < 1, -950)
