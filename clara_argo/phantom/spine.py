"""Vertebrae (one label from neck to sacrum), hip bones, aorta (labelled, arch included) and the other large vessels."""

from __future__ import annotations

import numpy as np

from clara_argo.phantom.patient import AORTA, LIVER, SPINE_R, SPINE_Y, SPINE_Z, VERTEBRAE, Patient
from clara_argo.phantom.shapes import Block, Floats, Labels, Mask


def spine(p: Patient) -> None:
    """Bodies, discs, arches and processes; canal and muscles beside them. The sacrum is bone without a label."""
    c = p.canvas
    block = c.block((-95, -1e4, -1e4), (95, 1e4, 1e4))
    x, z = c.x[block] - np.float32(p.spine_x), c.z[block]
    middle = np.interp(z, SPINE_Z, np.array(SPINE_Y) * p.curve + p.spine_back).astype(np.float32)
    y = c.y[block] - middle
    r = np.interp(z, SPINE_Z, SPINE_R).astype(np.float32) * np.float32(p.u(0.9, 1.12))
    inside = p.inside[block] & (p.radius[block] < 0.99)
    _muscles(p, block, x, y, r, inside)
    body = (x / (r * np.float32(1.18))) ** 2 + (y / r) ** 2
    period = np.interp(z, (-200, 0, 250, 340), (38, 33, 26, 19)).astype(np.float32)
    share = np.mod(z / period + np.float32(p.u(0, 1)), 1)
    disc = np.abs(share - np.float32(0.5)) < p.u(0.06, 0.12)
    bone = ((body < 1) | _arches(x, y, r, share)) & inside
    label = np.where(z < -165 + p.u(-8, 8), 0, VERTEBRAE).astype(np.uint8)
    marrow, cortex, arch = p.u(110, 250), p.u(260, 500), p.u(220, 450)
    _bone(p, block, bone, marrow + 45 * p.texture[block], label)
    _bone(p, block, bone & (body < 1) & (body > 0.74) & ~disc, cortex, label)
    _bone(p, block, bone & (body >= 1), arch + 80 * p.texture[block], label)
    _bone(p, block, bone & (body < 1) & disc, 85 + p.n(15), label)
    canal = (x / 10) ** 2 + ((y - r - 8) / 8) ** 2 < 1
    c.paint(block, canal & inside, 30, 0)


def _arches(x: Floats, y: Floats, r: Floats, share: Floats) -> Mask:
    """Arch, transverse and spinous processes, one of each a vertebra."""
    arch = (x / (r * 1.35)) ** 2 + ((y - r - 9) / 8) ** 2 < 1
    across = (np.abs(x) < r * 2.1) & (np.abs(y - r - 8) < 5) & ((share < 0.22) | (share > 0.78))
    behind = (np.abs(x) < 4.5) & (y > r + 10) & (y < r + 10 + 1.4 * r) & (np.abs(share - 0.25) < 0.34)
    mask: Mask = arch | across | behind
    return mask


def _bone(p: Patient, block: Block, mask: Mask, hu: float | Floats, label: Labels) -> None:
    p.canvas.paint(block, mask, hu)
    np.copyto(p.canvas.labels[block], label, where=mask)


def _muscles(p: Patient, block: Block, x: Floats, y: Floats, r: Floats, inside: Mask) -> None:
    z, hu = p.canvas.z[block], 54 + p.n(8) + 8 * p.texture[block]
    wide = np.abs(x)
    back = ((wide - 32) / 30) ** 2 + ((y - r - 22) / 24) ** 2 < 1
    p.canvas.paint(block, back & inside & (p.radius[block] < 0.97), hu)
    psoas = ((wide - 38) / np.float32(p.u(16, 24))) ** 2 + ((y + 2) / np.float32(p.u(14, 20))) ** 2 < 1
    p.canvas.paint(block, psoas & inside & (z < -10) & (z > -260), hu)


def pelvis(p: Patient) -> None:
    """Hip bones and bladder."""
    c, back, bone = p.canvas, p.spine_y(-150), p.u(250, 450)
    for side in (-1, 1):
        wing = c.ellipsoid((side * 88, back - 12, -180), (22, 62, 82), (0, side * -24, side * 28))
        here = (wing.value < 1) & p.inside[wing.block]
        c.paint(wing.block, here, 55 + p.n(8))
        c.paint(wing.block, here & (wing.value > 0.55), bone)
        head = c.ellipsoid((side * 92, 5, -300), (30, 30, 30))
        c.paint(head.block, (head.value < 1) & p.inside[head.block], bone)
    bladder = c.ellipsoid((0, -15, -290), (p.u(25, 50), p.u(25, 45), p.u(20, 45)))
    c.paint(bladder.block, (bladder.value < 1) & p.room[bladder.block], p.u(0, 20))


def vessels(p: Patient) -> None:
    """Aorta with its arch; vessels of pelvis and neck, and the vena cava, without a label."""
    c, x, r = p.canvas, p.spine_x, p.u(8.5, 13.5)
    blood, side, top = p.contrast(42, 320, 160, 40), p.u(3, 14), p.u(222, 240)
    down = [(x + side, p.spine_front(z, r + 2), z) for z in (-95.0, -40.0, 20.0)]
    chest = ((12, 70, r + 1), (22, 130, r - 6), (24, 205, r - 6))
    down += [(x + right, p.spine_front(z, gap), z) for right, z, gap in chest]
    arch = [(x + 20, p.spine_front(top, r + 6), top), (x + 2, p.spine_front(top, r + 38), top + 2)]
    arch += [(x - 16, p.spine_front(200, r + 58), 205), (x - 8, p.heart[1] + 6, p.heart[2] + 12)]
    width = [r * share for share in (0.85, 0.9, 1, 1, 1.05, 1.1, 1.15, 1.2, 1.3, 1.3)]
    tube = c.tube(down + arch, width)
    c.paint(tube.block, tube.value < 1, blood + 6 * p.texture[tube.block], AORTA)
    chalk, plaque = p.u(300, 800), p.chance(0.4)
    if plaque:
        c.paint(tube.block, (tube.value < 1) & (tube.value > 0.8) & (p.coarse[tube.block] > 1.2), chalk)
    _branches(p, blood, down[0], arch[:2])
    _vena_cava(p)


def _branches(
    p: Patient, blood: float, fork: tuple[float, float, float], arch: list[tuple[float, float, float]]
) -> None:
    c, jugular = p.canvas, p.contrast(45, 180, 160, 100)
    for side in (-1, 1):
        iliac = c.tube((fork, (side * 55, p.spine_front(-200, 8), -220), (side * 85, -20, -330)), (7, 6, 6))
        c.paint(iliac.block, (iliac.value < 1) & (c.z[iliac.block] < -97), blood, 0)
        way = ((side * 28, p.spine_front(330, 22), 330), (side * 26, p.spine_front(400, 20), 540))
        carotid = c.tube((arch[side > 0], *way), (6, 5, 4))
        c.paint(carotid.block, (carotid.value < 1) & p.free(carotid), blood)
        vein = c.tube([(xv + side * 12, yv - 4, zv) for xv, yv, zv in way], (p.u(5, 9), 6))
        c.paint(vein.block, (vein.value < 1) & p.free(vein) & p.inside[vein.block], jugular)
        arm = c.tube((way[0], (side * 120, -10, 315)), (6, 5))
        c.paint(arm.block, (arm.value < 1) & p.free(arm) & p.inside[arm.block], blood if side < 0 else jugular)


def _vena_cava(p: Patient) -> None:
    c, x, r = p.canvas, p.spine_x, p.u(8.5, 13)
    way = [(x - 16, p.spine_front(z, r), z) for z in (-230.0, -95.0, 0.0)]
    way += [(x - 20, p.spine_front(60, 22), 60), (-8, -10, 135)]
    p.cava = c.tube(way, (r * 0.8, r, r, r * 1.1, r * 1.1))
    p.cava_hu = p.contrast(40, 95, 140, 25)
    c.paint(p.cava.block, (p.cava.value < 1) & p.free(p.cava), p.cava_hu)


def vena_cava_in_liver(p: Patient) -> None:
    """Where it passes the liver it is no liver."""
    inside = (p.cava.value < 1) & p.free(p.cava, LIVER)
    p.canvas.paint(p.cava.block, inside & (p.canvas.labels[p.cava.block] == LIVER), p.cava_hu, 0)
