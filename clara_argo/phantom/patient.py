"""One made-up patient: who it is by the seed, the canvas it is painted on, and the hull from skin to muscle wall.

Frame of the anatomy: mm, LPS, x and y around the middle of the trunk, z = 0 near the first lumbar vertebra; the lungs
end near z = 285, the neck begins near 340, the hip bones near -110. Every draw comes from the patient's random source
in a fixed order and never depends on the grid, so the seed names a person and the grid only looks at him or her.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clara_argo.phantom.shapes import EVERYWHERE, Axes, Canvas, Floats, Mask, Region, smooth_field

ORGANS = (
    "liver",
    "spleen",
    "kidney_right",
    "kidney_left",
    "gallbladder",
    "stomach",
    "pancreas",
    "aorta",
    "vertebrae",
)  # the label value is the place in this list, from 1
LIVER, SPLEEN, KIDNEY_RIGHT, KIDNEY_LEFT, GALLBLADDER, STOMACH, PANCREAS, AORTA, VERTEBRAE = range(1, 10)
PHASES = ("plain", "arterial", "venous")

# Half width and half depth of the trunk, and of the room inside its wall, along z: shares of the patient's own.
TRUNK_Z = (-400, -260, -150, 0, 110, 210, 270, 305, 330, 350, 375, 560)
TRUNK_X = (0.98, 1.03, 1.00, 0.96, 0.98, 1.03, 1.12, 1.18, 0.95, 0.48, 0.40, 0.42)
TRUNK_Y = (0.92, 0.95, 0.96, 1.00, 1.05, 1.02, 0.88, 0.74, 0.64, 0.58, 0.60, 0.72)
ROOM_X = (0.98, 1.03, 1.00, 0.96, 0.98, 0.92, 0.78, 0.56, 0.36, 0.20, 0.16, 0.16)
ROOM_Y = (0.92, 0.95, 0.96, 1.00, 1.05, 0.98, 0.82, 0.60, 0.42, 0.24, 0.20, 0.20)
SPINE_Z = (-400, -190, -90, 0, 150, 250, 310, 360, 560)
SPINE_Y = (34, 22, -6, 0, 20, 24, 8, -14, -16)  # mm behind its place at z = 0: lordosis, kyphosis, neck
SPINE_R = (20, 21, 21, 20, 16, 14, 11, 9.5, 9)  # half depth of a vertebral body


class Patient:
    """Draws who the patient is and paints the hull; the parts inside are functions in the modules beside this one."""

    def __init__(self, rng: np.random.Generator, axes: Axes, phase: str | None, arms: str | None) -> None:
        self.rng = rng
        self.axes = axes
        self.place = np.array((self.u(-12, 12), self.u(-12, 12), 0.0))  # on the table, mm
        self.size = self.u(0.88, 1.12)
        self.tall = self.size * self.u(0.95, 1.06)
        self.texture = smooth_field(rng, axes, 11, 1.0)
        self.coarse = smooth_field(rng, axes, 27, 1.0)
        self.canvas = self._canvas(self.u(3, 8))
        drawn = str(rng.choice(PHASES, p=(0.25, 0.40, 0.35)))
        self.phase = phase or drawn
        drawn = str(rng.choice(("none", "up", "down"), p=(0.40, 0.40, 0.20)))
        self.arms = arms or drawn
        self.half = np.array((self.u(140, 192), self.u(95, 132))) / self.size  # half width and depth at z = 0
        self.spine_back = float(self.half[1]) - self.u(74, 92)  # y of the first lumbar vertebra
        self.spine_x = self.n(5)
        self.curve = self.u(0.6, 1.2)
        self.dome_top = self.u(98, 132)  # z of the right dome of the diaphragm
        self.dome_drop = self.u(0, 22)  # how much lower the left one is
        self.diaphragm = self._diaphragm()
        self.middle_x = 0.0  # of the mediastinum; set with the lungs
        self.heart = (0.0, 0.0, 0.0)  # set with the heart
        self.liver_shift = np.zeros(3, np.float32)
        self.cava: Region
        self.cava_hu = 0.0
        self._hull()

    # -- draws ---------------------------------------------------------------------------------------------------

    def u(self, low: float, high: float) -> float:
        """Uniform."""
        return float(self.rng.uniform(low, high))

    def n(self, sigma: float) -> float:
        """Normal around 0, cut at 2.2 sigma: nobody's organ flies away."""
        return float(np.clip(self.rng.normal(0, sigma), -2.2 * sigma, 2.2 * sigma))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def contrast(self, plain: float, arterial: float, venous: float, sigma: float) -> float:
        """HU in the patient's phase."""
        return dict(zip(PHASES, (plain, arterial, venous), strict=True))[self.phase] + self.n(sigma)

    # -- where things are ----------------------------------------------------------------------------------------

    def spine_y(self, z: float) -> float:
        """y of the middle of the vertebral bodies at height z."""
        return self.spine_back + float(np.interp(z, SPINE_Z, SPINE_Y)) * self.curve

    def spine_front(self, z: float, gap: float) -> float:
        """y of a point `gap` mm before the vertebral bodies at height z."""
        return self.spine_y(z) - float(np.interp(z, SPINE_Z, SPINE_R)) - gap

    def belly_in(self, region: Region, gap: float = 3) -> Mask:
        """The region's voxels inside the wall and below the diaphragm."""
        block = region.block
        inside: Mask = self.room[block] & (self.canvas.z[block] < self.diaphragm[block] - np.float32(gap))
        return inside

    def free(self, region: Region, *labels: int) -> Mask:
        """The region's voxels that have no label yet, or one of these."""
        here = self.canvas.labels[region.block]
        mask: Mask = here == 0
        for label in labels:
            mask = mask | (here == label)
        return mask

    def _canvas(self, warp: float) -> Canvas:
        fields = [smooth_field(self.rng, self.axes, 85, warp) for _ in range(3)]
        grids = (self.axes.x[None, None], self.axes.y[None, :, None], self.axes.z[:, None, None])
        scales = (self.size, self.size, self.tall)
        for field, grid, shift, scale in zip(fields, grids, self.place, scales, strict=True):
            field += grid - np.float32(shift)
            field /= np.float32(scale)
        return Canvas(*fields)

    def _diaphragm(self) -> Floats:
        """Height of the diaphragm below or above every voxel, mm: two domes."""
        c, depth, across, fore = self.canvas, self.u(95, 150), self.u(95, 120), self.u(95, 125)
        deep = ((c.y + np.float32(8)) / np.float32(fore)) ** 2
        height = np.full(c.x.shape, -75, np.float32)
        for side, top in ((-1, self.dome_top), (1, self.dome_top - self.dome_drop)):
            wide = ((c.x - np.float32(70 * side)) / np.float32(across)) ** 2
            np.maximum(height, np.float32(top) - np.float32(depth) * (wide + deep), out=height)
        return height

    # -- hull ----------------------------------------------------------------------------------------------------

    def _hull(self) -> None:
        """Skin, fat, muscle wall with ribs; `radius` is 1 at the skin, `room` is what the wall encloses."""
        c = self.canvas
        self.radius = self._radius(TRUNK_X, TRUNK_Y)
        room = self._radius(ROOM_X, ROOM_Y)
        self.inside: Mask = self.radius < 1
        skin = self.u(0.80, 0.95)
        wall = skin - self.u(0.06, 0.13)
        self.wall = wall
        self.room: Mask = (room < wall) & (self.radius < skin)
        self.room_radius = room
        c.paint(EVERYWHERE, self.inside, -102 + self.n(7) + 6 * self.texture)
        between = self.u(0.3, 1.6)  # fat between the muscles of the shoulders
        muscle = 52 + self.n(8) + 8 * self.texture
        muscle[(self.coarse > between) & (c.z > 200)] = -90
        c.paint(EVERYWHERE, self.radius < skin, muscle)
        c.paint(EVERYWHERE, self.room, -98 + self.n(8) + 6 * self.texture)
        self._ribs(room, wall)
        self._breasts()

    def _radius(self, across: Sequence[float], deep: Sequence[float]) -> Floats:
        """Distance from the middle axis in units of the outline: a superellipse of power 2.5."""
        c = self.canvas
        a = np.abs(c.x / (_along(c.z, across) * np.float32(self.half[0])))
        b = np.abs(c.y / (_along(c.z, deep) * np.float32(self.half[1])))
        power: Floats = a * a * np.sqrt(a) + b * b * np.sqrt(b)
        return power ** np.float32(0.4)

    def _ribs(self, room: Floats, wall: float) -> None:
        c, period, low = self.canvas, self.u(26, 32), self.u(-45, 0)
        block = c.block((-1e4, -1e4, low), (1e4, 1e4, 315))
        y, z = c.y[block], c.z[block]
        shell = (room[block] > wall - 0.005) & (room[block] < wall + self.u(0.05, 0.075)) & (self.radius[block] < 0.97)
        rib = shell & (np.sin((z + np.float32(0.45) * y) * np.float32(2 * np.pi / period)) > 0.35)
        rib &= z > np.interp(y, (-110, 0, 90), (60, -20, -40)).astype(np.float32)  # the arch of the lower ribs
        c.paint(block, rib, self.u(200, 450) + 60 * self.texture[block])

    def _breasts(self) -> None:
        c, size, gland, has = self.canvas, self.u(25, 75), self.u(-60, 40), self.chance(0.5)
        for side in (-1, 1) if has else ():
            lobe = c.ellipsoid((side * 82, -0.95 * float(self.half[1]), 165), (70, size * 0.8, 70))
            skin = (lobe.value < 1) & ~self.inside[lobe.block]
            c.paint(lobe.block, skin, np.where(self.coarse[lobe.block] > 0.6, np.float32(gland), np.float32(-100)))
            self.inside[lobe.block] |= skin


def _along(z: Floats, shares: Sequence[float]) -> Floats:
    return np.interp(z, TRUNK_Z, shares).astype(np.float32)


def vector(*numbers: float) -> Any:
    """A point or radii, for arithmetic."""
    return np.array(numbers, np.float32)
