"""The anatomy of one made-up patient, neck to pelvis, painted on a canvas from a seed.

Frame of the anatomy: mm, LPS, x and y around the middle of the trunk, z = 0 near the first lumbar vertebra; the lungs
end near z = 285, the neck begins near 340, the hip bones near -110. Shapes follow one rule each, sizes vary as in
adults. Every draw comes from the patient's random source in a fixed order and never depends on the grid. The patient
is plausible to a segmentation model, not to a radiologist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clara_argo.phantom.shapes import Axes, Canvas, Floats, Mask, Region, smooth_field

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

# Half width and half depth of the trunk along z, as shares of the patient's own.
TRUNK_Z = (-400, -260, -150, 0, 110, 210, 270, 305, 330, 350, 375, 560)
TRUNK_X = (0.98, 1.03, 1.00, 0.96, 0.98, 1.03, 1.12, 1.18, 0.95, 0.48, 0.40, 0.42)
TRUNK_Y = (0.92, 0.95, 0.96, 1.00, 1.05, 1.02, 0.88, 0.74, 0.64, 0.58, 0.60, 0.72)
SPINE_Z = (-400, -190, -90, 0, 150, 250, 310, 360, 560)
SPINE_Y = (34, 22, -6, 0, 20, 24, 8, -14, -16)  # mm behind its place at L1: lordosis, kyphosis, neck
SPINE_R = (20, 21, 21, 20, 16, 14, 11, 9.5, 9)  # half depth of a vertebral body


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller fixes; None lets the seed decide."""

    phase: str | None = None
    arms: str | None = None  # "down", "up" or "none"


class Patient:
    """Paints one patient. After `paint`, the canvas holds noise-free HU and the labels."""

    def __init__(self, rng: np.random.Generator, axes: Axes, wishes: Wishes) -> None:
        self.rng = rng
        self.axes = axes
        self.place = np.array((self.u(-12, 12), self.u(-12, 12), 0.0))  # of the patient on the table
        self.size = self.u(0.88, 1.12)
        self.tall = self.size * self.u(0.95, 1.06)
        self.warp_mm = self.u(3, 8)
        self.texture = smooth_field(rng, axes, 11, 1.0)
        self.coarse = smooth_field(rng, axes, 27, 1.0)
        self.canvas = self._canvas()
        phase = str(rng.choice(PHASES, p=(0.25, 0.35, 0.40)))
        self.phase = wishes.phase or phase
        arms = str(rng.choice(("none", "up", "down"), p=(0.45, 0.35, 0.20)))
        self.arms_are = wishes.arms or arms
        self.half = np.array((self.u(140, 190), self.u(95, 132)))  # half width and depth of the trunk at z = 0
        self.spine_back = float(self.half[1] / self.size) - self.u(74, 92)  # y of the first lumbar vertebra
        self.curve = self.u(0.6, 1.2)

    def u(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def n(self, sigma: float) -> float:
        return float(np.clip(self.rng.normal(0, sigma), -2.2 * sigma, 2.2 * sigma))

    def contrast(self, plain: float, arterial: float, venous: float, sigma: float) -> float:
        return dict(zip(PHASES, (plain, arterial, venous), strict=True))[self.phase] + self.n(sigma)

    def _canvas(self) -> Canvas:
        fields = [smooth_field(self.rng, self.axes, 85, self.warp_mm) for _ in range(3)]
        grids = (self.axes.x[None, None], self.axes.y[None, :, None], self.axes.z[:, None, None])
        scale = (self.size, self.size, self.tall)
        x, y, z = (
            ((grid + np.float32(-shift) + field) / np.float32(factor)).astype(np.float32)
            for grid, shift, field, factor in zip(grids, self.place, fields, scale, strict=True)
        )
        return Canvas(x, y, z)

    def paint(self) -> Canvas:
        """All parts, from the outside inwards; what is painted later wins."""
        for part in (
            self.trunk,
            self.arms,
            self.chest,
            self.belly,
            self.spine,
            self.pelvis,
            self.vessels,
            self.spleen,
            self.liver,
            self.stomach,
            self.colon,
            self.kidneys,
            self.pancreas,
            self.gallbladder,
        ):
            part()
        outside = ~self.inside
        self.canvas.labels[outside] = 0
        return self.canvas

    # -- the hull ------------------------------------------------------------------------------------------------

    def trunk(self) -> None:
        """Skin, fat, muscle wall with ribs; leaves the radius of every voxel in the trunk (1 at the skin)."""
        c = self.canvas
        across, deep = self._trunk_axes()
        a, b = np.abs(c.x / across), np.abs(c.y / deep)
        radius: Floats = (a * a * np.sqrt(a) + b * b * np.sqrt(b)) ** np.float32(0.4)
        self.radius = radius
        self.inside: Mask = radius < 1
        skin = self.u(0.80, 0.95)
        self.fat_edge = skin
        self.wall_edge = skin - self.u(0.06, 0.13)
        everywhere = c.block((-1e4,) * 3, (1e4,) * 3)
        c.paint(everywhere, self.inside, -102 + self.n(7) + 6 * self.texture)
        c.paint(everywhere, radius < skin, 52 + self.n(8) + 8 * self.texture)
        self.cavity: Mask = radius < self.wall_edge
        c.paint(everywhere, self.cavity, -98 + self.n(8) + 6 * self.texture)
        self._ribs(skin)
        self._breasts()

    def _trunk_axes(self) -> tuple[Floats, Floats]:
        z = self.canvas.z
        across = np.interp(z, TRUNK_Z, TRUNK_X).astype(np.float32) * np.float32(self.half[0] / self.size)
        deep = np.interp(z, TRUNK_Z, TRUNK_Y).astype(np.float32) * np.float32(self.half[1] / self.size)
        return across, deep

    def _ribs(self, skin: float) -> None:
        c, period = self.canvas, self.u(26, 32)
        block = c.block((-1e4, -1e4, self.u(-45, 0)), (1e4, 1e4, 300))
        radius, y, z = self.radius[block], c.y[block], c.z[block]
        shell = (radius < skin - 0.01) & (radius > skin - 0.07)
        rib = shell & (np.sin((z + np.float32(0.45) * y) * np.float32(2 * np.pi / period)) > 0.35)
        rib &= z > np.interp(y, (-110, 0, 90), (60, -20, -40)).astype(np.float32)  # the arch of the lower ribs
        c.paint(block, rib, self.u(200, 450) + 60 * self.texture[block])

    def _breasts(self) -> None:
        size, gland = self.u(25, 75), self.u(-60, 40)
        if self.rng.random() < 0.5:
            return
        c = self.canvas
        for side in (-1, 1):
            front = -0.95 * self.half[1] / self.size
            lobe = c.ellipsoid((side * 82, front, 165), (70, size * 0.8, 70))
            skin = (lobe.value < 1) & ~self.inside[lobe.block]
            c.paint(lobe.block, skin, -100 + np.where(self.coarse[lobe.block] > 0.6, gland + 100, 0))
            self.inside[lobe.block] |= skin

    def arms(self) -> None:
        """Beside the trunk, above the head (seen beside the neck), or out of the picture; shoulders always."""
        c = self.canvas
        half = float(self.half[0] / self.size)
        fat, girth, bend = self.u(6, 16), self.u(36, 50), self.u(-10, 30)
        for side in (-1, 1):
            shoulder = (side * half * 1.02, 12.0, 305.0)
            elbow = {
                "down": (side * (half * 1.0 + girth + 2), 20.0 + bend, -20.0),
                "up": (side * half * 0.95, -10.0 - bend, 520.0),
            }.get(self.arms_are)
            parts = [(shoulder, (shoulder[0] * 0.75, 20.0, 330.0))] + ([(shoulder, elbow)] if elbow else [])
            if self.arms_are == "down" and elbow:
                parts.append((elbow, (elbow[0] * 0.95, elbow[1] - 30, -300.0)))
            for begin, end in parts:
                limb = c.tube((begin, end), (girth, girth * 0.9), 1.0)
                self._limb(limb, fat / girth)
            blade = c.ellipsoid((side * half * 0.62, 68, 255), (8, 8, 60), (0, 20 * side, 0))
            c.paint(blade.block, (blade.value < 1) & self.inside[blade.block], self.u(250, 450))
            collar = c.tube(((side * 12, -62, 300), (side * half * 0.95, 0, 325)), (8, 8))
            c.paint(collar.block, (collar.value < 1) & self.inside[collar.block], self.u(250, 450))

    def _limb(self, limb: Region, fat: float) -> None:
        c, r = self.canvas, np.sqrt(limb.value)
        c.paint(limb.block, (r < 1) & ~self.inside[limb.block], -100 + self.n(8))
        c.paint(limb.block, r < 1 - fat, 50 + self.n(8) + 8 * self.texture[limb.block])
        c.paint(limb.block, r < 0.30, 200 + self.n(60))
        c.paint(limb.block, (r < 0.30) & (r > 0.2), 700 + self.n(150))
        self.inside[limb.block] |= r < 1

    # -- chest ---------------------------------------------------------------------------------------------------

    def chest(self) -> None:
        """Diaphragm, lungs, mediastinum, heart."""
        c = self.canvas
        self.dome_top = self.u(98, 132)
        self.apex = self.u(270, 305)
        self.diaphragm = self._diaphragm()
        block = c.block((-1e4, -1e4, -80), (1e4, 1e4, self.apex))
        x, y, z = c.x[block], c.y[block], c.z[block]
        above = np.clip((z - 170) / np.float32(self.apex - 170), 0, 1)
        lung = self.radius[block] < self.wall_edge * np.sqrt(1 - above**2 * np.float32(0.95))
        lung &= z > self.diaphragm[block]
        width, centre = self.u(26, 40), self.n(5) + 6
        middle = ((x - centre) / np.float32(width)) ** 2 + ((y + 5) / np.float32(95)) ** 2 < 1
        self.mediastinum_x = centre
        soft = self.cavity[block] & (z > self.diaphragm[block])
        c.paint(block, soft & middle, -20 + 45 * self.coarse[block])
        air, vessels = self.u(-890, -770), self.u(1.3, 1.9)
        lungs = air + 35 * self.texture[block]
        lungs = np.where(self.texture[block] > vessels, self.u(-250, 60), lungs)
        c.paint(block, lung & ~middle, lungs)
        if self.rng.random() < 0.25:  # effusion or atelectasis in the recess
            c.paint(block, lung & ~middle & (y > self.u(50, 80)) & (z < self.u(60, 130)), self.u(0, 50))
        self._heart()
        self._airways()

    def _diaphragm(self) -> Floats:
        """Height of the diaphragm below every voxel, mm."""
        c = self.canvas
        right, left = self.dome_top, self.dome_top - self.u(0, 22)
        depth, across, fore = self.u(95, 150), self.u(95, 120), self.u(95, 125)
        domes = [
            top - depth * (((c.x - side * 70) / np.float32(across)) ** 2 + ((c.y + 8) / np.float32(fore)) ** 2)
            for side, top in ((-1, right), (1, left))
        ]
        return np.maximum(np.maximum(*domes), np.float32(-75))

    def _heart(self) -> None:
        c = self.canvas
        centre = (24 + self.n(7), -30 + self.n(7), self.dome_top + self.u(22, 42))
        radii = (self.u(50, 66), self.u(42, 54), self.u(40, 54))
        heart = c.ellipsoid(centre, radii, (0, self.u(10, 30), 0))
        free = (c.z[heart.block] > self.diaphragm[heart.block] - 6) & self.cavity[heart.block]
        c.paint(heart.block, (heart.value < 1) & free, -90 + self.n(10))  # epicardial fat
        c.paint(heart.block, (heart.value < 0.86) & free, self.contrast(45, 110, 110, 12))
        blood, chamber = self.contrast(40, 290, 160, 35), np.abs(self.coarse[heart.block]) > self.u(0.1, 0.4)
        c.paint(heart.block, (heart.value < 0.7) & chamber & free, blood)
        self.heart = centre
        trunk = c.tube((centre, (centre[0] - 5, centre[1] + 10, 215)), (24, 15))
        c.paint(trunk.block, trunk.value < 1, blood)

    def _airways(self) -> None:
        c, x, y = self.canvas, self.mediastinum_x, self._spine_y(250) - 34
        windpipe = c.tube(((x - 6, y, 205), (x - 6, y - 8, 320), (x - 6, y - 14, 540)), (8, 9, 9))
        c.paint(windpipe.block, windpipe.value < 1, -980)
        for side in (-1, 1):
            bronchus = c.tube(((x - 6, y, 208), (x - 6 + side * 45, y + 6, 165)), (6.5, 5))
            c.paint(bronchus.block, bronchus.value < 1, -950)
        gullet = c.tube(((x + 4, y + 12, 540), (x + 6, y + 13, 200), (x + 22, y - 10, 92)), (8, 8, 9))
        c.paint(gullet.block, gullet.value < 1, 40 + self.n(8))
        thyroid = self.u(60, 180)
        for side in (-1, 1):
            lobe = c.ellipsoid((x - 6 + side * 19, y - 12, 345), (9, 11, 24))
            c.paint(lobe.block, (lobe.value < 1) & self.inside[lobe.block], thyroid)

    # -- belly ---------------------------------------------------------------------------------------------------

    def belly(self) -> None:
        """Mesentery and small bowel: lumps of tissue in fat, loops with fluid, gas or oral contrast."""
        c = self.canvas
        block = c.block((-1e4, -1e4, -330), (1e4, 1e4, 40))
        free = self.cavity[block] & (c.z[block] < self.diaphragm[block])
        lean = self.u(-0.6, 1.6)
        c.paint(block, free & (self.coarse[block] > lean), 30 + self.n(12) + 10 * self.texture[block])
        vessels = free & (np.abs(self.texture[block]) < 0.10) & (c.y[block] < 30)
        c.paint(block, vessels, self.contrast(40, 120, 120, 20))
        for _ in range(int(self.rng.integers(10, 24))):
            centre = (self.u(-95, 95), self.u(-80, 15), self.u(-260, 5))
            radii = (self.u(12, 26), self.u(11, 22), self.u(12, 34))
            loop = c.ellipsoid(centre, radii, (self.u(0, 90), self.u(0, 90), self.u(0, 90)))
            self._hollow(loop, self.cavity[loop.block], self.u(0.55, 0.85))

    def _hollow(self, loop: Region, allowed: Mask, lumen: float) -> None:
        """A piece of bowel: a wall, and one of four contents."""
        c, mask = self.canvas, (loop.value < 1) & allowed
        content = (self.u(5, 35), self.u(-40, 60), -700 + self.u(0, 250), self.u(100, 400))
        kind = int(self.rng.choice(4, p=(0.4, 0.2, 0.2, 0.2)))
        inner = content[kind] + self.texture[loop.block] * (12, 40, 60, 40)[kind]
        c.paint(loop.block, mask, self.contrast(45, 80, 95, 12), 0)
        c.paint(loop.block, mask & (loop.value < lumen), inner, 0)

    def colon(self) -> None:
        """Up on the right, across below the liver and stomach, down on the left; labels of organs stay."""
        c, r = self.canvas, self.u(15, 25)
        low = self.u(-60, -15)
        right = ((-98, 20, -200), (-98, 15, -90), (-88, -5, self.u(-45, -15)))
        middle = ((-60, -62, low), (0, -74, low - 15), (55, -62, low + 15))
        left = ((98, 18, self.u(20, 60)), (108, 25, -30), (100, 28, -200))
        points = right + middle + left
        for begin, end in zip(points[:-1], points[1:], strict=True):
            piece = c.tube((begin, end), (r * self.u(0.7, 1.1), r * self.u(0.7, 1.1)))
            self._hollow(piece, self.cavity[piece.block] & (c.labels[piece.block] == 0), self.u(0.7, 0.9))

    def pelvis(self) -> None:
        """Hip bones, sacrum, bladder: bone and fluid without a label."""
        c, back, bone = self.canvas, self._spine_y(-150), self.u(250, 450)
        for side in (-1, 1):
            wing = c.ellipsoid((side * 88, back - 12, -180), (22, 62, 82), (0, side * -24, side * 28))
            shell = (wing.value < 1) & (wing.value > 0.55) & self.inside[wing.block]
            c.paint(wing.block, (wing.value < 1) & self.inside[wing.block], 55 + self.n(8))
            c.paint(wing.block, shell, bone, 0)
            head = c.ellipsoid((side * 92, 5, -300), (30, 30, 30))
            c.paint(head.block, (head.value < 1) & self.inside[head.block], bone)
        bladder = c.ellipsoid((0, -15, -290), (self.u(25, 50), self.u(25, 45), self.u(20, 45)))
        c.paint(bladder.block, (bladder.value < 1) & self.cavity[bladder.block], self.u(0, 20))

    # -- spine and vessels ---------------------------------------------------------------------------------------

    def _spine_y(self, z: float) -> float:
        return self.spine_back + float(np.interp(z, SPINE_Z, SPINE_Y)) * self.curve

    def spine(self) -> None:
        """Vertebral bodies, discs, arches and processes as one label; canal, muscles beside it; sacrum unlabelled."""
        c = self.canvas
        x0 = self.n(5)
        self.spine_x = x0
        block = c.block((-95, -1e4, -1e4), (95, 1e4, 1e4))
        x, y, z = c.x[block] - x0, c.y[block], c.z[block]
        y = y - np.interp(z, SPINE_Z, np.array(SPINE_Y) * self.curve + self.spine_back).astype(np.float32)
        r = np.interp(z, SPINE_Z, SPINE_R).astype(np.float32) * np.float32(self.u(0.9, 1.12))
        inside = self.inside[block] & (self.radius[block] < 0.99)
        self._spine_muscles(block, x, y, r, inside)
        body = (x / (r * np.float32(1.18))) ** 2 + (y / r) ** 2
        period = np.interp(z, (-200, 0, 250, 340), (38, 33, 26, 19))
        height = np.float32(self.u(0, 1)) + (z / period)
        share = height - np.floor(height)
        disc = np.abs(share - 0.5) < 0.10
        arch = (x / (r * 1.35)) ** 2 + ((y - r - 9) / 8) ** 2 < 1
        arch |= (np.abs(x) < r * 2.1) & (np.abs(y - r - 8) < 5) & (np.abs(share) < 0.22)
        spine = (np.abs(x) < 4.5) & (y > r + 10) & (y < r + 10 + 1.4 * r) & (np.abs(share - 0.12) < 0.34)
        bone = ((body < 1) | arch | spine) & inside
        label = np.where(z < -165 + self.u(-8, 8), 0, VERTEBRAE).astype(np.uint8)  # the sacrum is not a label
        marrow = self.u(120, 250)
        self._bone(block, bone, marrow + 45 * self.texture[block], label)
        self._bone(block, bone & (body < 1) & (body > 0.74) & ~disc, self.u(300, 500), label)
        self._bone(block, bone & (body >= 1), self.u(250, 450), label)
        self._bone(block, bone & (body < 1) & disc, 85 + self.n(15), label)
        canal = (x / 10) ** 2 + ((y - r - 8) / 8) ** 2 < 1
        c.paint(block, canal & inside, 30, 0)

    def _bone(self, block: tuple[slice, slice, slice], mask: Mask, hu: float | Floats, label: Mask) -> None:
        c = self.canvas
        c.paint(block, mask, hu)
        np.copyto(c.labels[block], label, where=mask)

    def _spine_muscles(self, block: tuple[slice, slice, slice], x: Floats, y: Floats, r: Floats, inside: Mask) -> None:
        c, z = self.canvas, self.canvas.z[block]
        hu = 54 + self.n(8) + 8 * self.texture[block]
        back = ((np.abs(x) - 32) / 30) ** 2 + ((y - r - 22) / 24) ** 2 < 1
        c.paint(block, back & inside & (self.radius[block] < 0.97), hu)
        psoas = ((np.abs(x) - 38) / self.u(16, 24)) ** 2 + ((y + 2) / self.u(14, 20)) ** 2 < 1
        c.paint(block, psoas & inside & (z < -10) & (z > -260), hu)
        neck = (np.abs(x) < 48) & (np.abs(y - 5) < 34) & (z > 335)
        c.paint(block, neck & inside & (self.radius[block] < 0.92), hu)

    def vessels(self) -> None:
        """Aorta with arch, its branches in the pelvis and neck (unlabelled), vena cava."""
        c, x0 = self.canvas, self.spine_x
        r, blood = self.u(8.5, 13.5), self.contrast(42, 320, 160, 30)
        cava_r, cava = self.u(8.5, 13), self.contrast(40, 95, 140, 15)

        def front(z: float, gap: float) -> float:
            return self._spine_y(z) - float(np.interp(z, SPINE_Z, SPINE_R)) - gap

        side = self.u(3, 14)
        down = [(x0 + side, front(z, r + 2), z) for z in (-95, -40, 20)]
        down += [(x0 + 12, front(70, r + 1), 70), (x0 + 22, front(130, r - 6), 130), (x0 + 24, front(205, r - 6), 205)]
        top = self.u(222, 240)
        arch = [(x0 + 20, front(top, r + 6), top), (x0 + 2, front(top, r + 38), top + 2)]
        arch += [(x0 - 16, front(200, r + 58), 205), (x0 - 8, self.heart[1] + 6, 165)]
        caliber = [r * 0.85, r * 0.9, r, r, r * 1.05, r * 1.1, r * 1.15, r * 1.2, r * 1.3, r * 1.3]
        tube = c.tube(down + arch, caliber)
        c.paint(tube.block, tube.value < 1, blood + 6 * self.texture[tube.block], AORTA)
        if self.rng.random() < 0.4:
            c.paint(tube.block, (tube.value < 1) & (tube.value > 0.8) & (self.coarse[tube.block] > 1.2), self.u(300, 800))
        for side_of in (-1, 1):
            iliac = c.tube((down[0], (side_of * 55, front(-200, 8), -220), (side_of * 85, -20, -330)), (7, 6, 6))
            c.paint(iliac.block, (iliac.value < 1) & (iliac.value > 0) & (c.z[iliac.block] < -97), blood, 0)
            neck = c.tube((arch[0], (side_of * 28, front(330, 22), 330), (side_of * 26, front(400, 20), 540)), (6, 5, 4))
            c.paint(neck.block, (neck.value < 1) & (c.labels[neck.block] == 0), blood, 0)
        way = [(x0 - 16, front(z, cava_r), z) for z in (-230, -95, 0)] + [(x0 - 20, front(60, 22), 60), (-8, -10, 135)]
        vein = c.tube(way, (cava_r * 0.8, cava_r, cava_r, cava_r * 1.1, cava_r * 1.1))
        self.cava = vein
        self.cava_hu = cava
        c.paint(vein.block, (vein.value < 1) & (c.labels[vein.block] == 0), cava)

    # -- organs --------------------------------------------------------------------------------------------------

    def _below(self, region: Region, gap: float = 3) -> Mask:
        return self.cavity[region.block] & (self.canvas.z[region.block] < self.diaphragm[region.block] - gap)

    def liver(self) -> None:
        c, shift = self.canvas, np.array((self.n(6), self.n(6), self.n(8)))
        self.liver_shift = shift
        hu, texture = self.contrast(56, 72, 112, 12), self.u(2, 6)
        right = (np.array((-76, 2, 38)) + shift, (self.u(66, 88), self.u(72, 96), self.u(70, 100)))
        left = (np.array((-8, -44, 62)) + shift, (self.u(52, 92), self.u(26, 42), self.u(26, 46)))
        hollow = c.ellipsoid(
            np.array((self.u(-40, -18), self.u(10, 35), self.u(-50, -15))) + shift,
            (self.u(30, 50), self.u(30, 55), self.u(40, 60)),
        )
        hollowed = np.zeros(c.x.shape, bool)
        hollowed[hollow.block] = hollow.value < 1
        parts = (
            c.ellipsoid(*right, (self.n(6), self.n(8), self.n(6)), 2.3),
            c.ellipsoid(*left, (self.n(6), self.u(-5, 20), self.n(6))),
        )
        veins, bright = self.u(0.06, 0.14), hu + self.contrast(-8, 5, 45, 8)
        for part in parts:
            mask = (part.value < 1) & self._below(part) & ~hollowed[part.block]
            mask &= (c.labels[part.block] == 0) | (c.labels[part.block] == SPLEEN)
            c.paint(part.block, mask, hu + texture * self.texture[part.block], LIVER)
            c.paint(part.block, mask & (part.value < 0.8) & (np.abs(self.coarse[part.block]) < veins), bright)
        self._liver_findings(parts[0])
        vein = self.cava
        c.paint(vein.block, (vein.value < 1) & (c.labels[vein.block] == LIVER), self.cava_hu, 0)

    def _liver_findings(self, part: Region) -> None:
        """Cysts and metastases: part of the liver's label."""
        c = self.canvas
        for _ in range(int(self.rng.integers(0, 4))):
            centre = (self.u(-120, -30), self.u(-50, 50), self.u(-20, 100))
            lesion = c.ellipsoid(centre, (self.u(4, 18),) * 3)
            hu = self.u(0, 60)
            c.paint(lesion.block, (lesion.value < 1) & (c.labels[lesion.block] == LIVER), hu)

    def spleen(self) -> None:
        c = self.canvas
        top = self.dome_top - 84
        centre = np.array((94 + self.n(7), 34 + self.n(10), top + self.n(12)))
        radii = (self.u(24, 36), self.u(36, 54), self.u(38, 64))
        spleen = c.ellipsoid(centre, radii, (self.n(10), self.n(10), self.u(10, 40)))
        hilum = c.ellipsoid(centre - np.array((38, 18, 0)), (32, 40, 60))
        cut = np.zeros(c.x.shape, bool)
        cut[hilum.block] = hilum.value < 1
        hu = self.contrast(50, 130, 120, 12)
        mottled = self.u(0, 40) if self.phase == "arterial" else 5.0
        mask = (spleen.value < 1) & ~cut[spleen.block] & self._below(spleen) & (c.labels[spleen.block] == 0)
        c.paint(spleen.block, mask, hu + mottled * self.coarse[spleen.block], SPLEEN)

    def stomach(self) -> None:
        c = self.canvas
        place = np.array((46 + self.n(10), -36 + self.n(8), self.dome_top - 68 + self.n(12)))
        fundus = c.ellipsoid(
            place + np.array((10, 22, 16)), (self.u(24, 42), self.u(22, 38), self.u(26, 46)), (self.n(15), self.n(15), 0)
        )
        path = [place + np.array((8, 10, 0)), place + np.array((-5, -12, -32)), place + np.array((-42, -14, -52))]
        tube = c.tube(path, [self.u(20, 34), self.u(17, 30), self.u(12, 20)])
        content, wall, level = self.u(0, 70), self.contrast(45, 85, 90, 12), place[1] + self.u(-50, 15)
        gas, oral = self.u(-950, -600), self.u(120, 400)
        if self.rng.random() < 0.2:
            content = oral
        lumpy = self.u(5, 40)
        allowed = (0, SPLEEN, LIVER) if self.rng.random() < 0.3 else (0, SPLEEN)
        masks = []
        for part in (fundus, tube):
            free = self._below(part) & np.isin(c.labels[part.block], (*allowed, STOMACH))
            masks.append((part.value < 1) & free)
            c.paint(part.block, masks[-1], wall, STOMACH)
        for part, mask in zip((fundus, tube), masks, strict=True):
            lumen = mask & (part.value < 0.78)
            c.paint(part.block, lumen, content + lumpy * self.texture[part.block])
            c.paint(part.block, lumen & (c.y[part.block] < level), gas)

    def kidneys(self) -> None:
        c, drop = self.canvas, np.array((0, 0, self.u(-14, 2)))  # the right kidney sits lower
        back, radius = self._spine_y(-28), float(np.interp(-28, SPINE_Z, SPINE_R))
        for side, label in ((-1, KIDNEY_RIGHT), (1, KIDNEY_LEFT)):
            where = (side * self.u(52, 68), back - radius + self.u(6, 24), -26 + self.n(11))
            centre = np.array(where) + (drop if side < 0 else 0)
            radii = np.array((self.u(22, 31), self.u(21, 30), self.u(44, 62)))
            angles = (self.u(-15, 5), side * self.u(5, 18), self.n(12))
            capsule = self.u(1.1, 1.6)
            kidney = c.ellipsoid(centre, radii, angles, 2.0, 1.3)
            room = self.cavity[kidney.block] & ~np.isin(c.labels[kidney.block], (VERTEBRAE, AORTA))
            c.paint(kidney.block, (kidney.value < capsule) & room, -100 + self.n(8), 0)
            self._kidney(kidney, room, label, centre, radii, angles, side)

    def _kidney(
        self, kidney: Region, room: Mask, label: int, centre: Floats, radii: Floats, angles: tuple[float, ...], side: int
    ) -> None:
        c = self.canvas
        cortex, medulla = self.contrast(32, 190, 190, 22), self.contrast(32, 110, 180, 18)
        wedges = np.abs(self.coarse[kidney.block]) > self.u(0, 0.6)
        c.paint(kidney.block, (kidney.value < 1) & room, cortex + 6 * self.texture[kidney.block], label)
        c.paint(kidney.block, (kidney.value < 0.55) & room & wedges, medulla, label)
        sinus = c.ellipsoid(centre - np.array((side * 12, 0, 0)), radii * np.array((0.6, 0.35, 0.45)), angles)
        urine = -90 + self.n(10) if self.rng.random() < 0.7 else self.u(0, 20)
        c.paint(sinus.block, sinus.value < 1, urine, 0)
        if self.rng.random() < 0.2:
            cyst = c.ellipsoid(centre + np.array((side * 18, self.n(8), self.n(25))), (self.u(5, 15),) * 3)
            mine = (cyst.value < 1) & (c.labels[cyst.block] == label)
            c.paint(cyst.block, mine, self.u(0, 20))

    def pancreas(self) -> None:
        c = self.canvas
        base = np.array((self.n(6), self._spine_y(6) - 20 - self.u(30, 44), 6 + self.n(10)))
        r = self.u(9.5, 15)
        offsets = ((-34, 12, -26), (-26, 4, -6), (2, -8, 4), (40, 6, 16), (self.u(68, 84), 26, self.u(22, 40)))
        gland = c.tube([base + np.array(o) for o in offsets], (r * 1.4, r * 1.3, r, r * 0.95, r * 0.8))
        free = self.cavity[gland.block] & (c.labels[gland.block] == 0)
        lobules = self.contrast(38, 95, 88, 14) + self.u(4, 20) * self.texture[gland.block]
        c.paint(gland.block, (gland.value < 1.45) & free, -95 + self.n(8))
        c.paint(gland.block, (gland.value < 1) & free, lobules, PANCREAS)
        duodenum = c.tube([base + np.array(o) for o in ((-56, -8, 14), (-60, 8, -20), (-46, 22, -46), (10, 20, -50))], (12,) * 4)
        self._hollow(duodenum, self.cavity[duodenum.block] & (c.labels[duodenum.block] == 0), 0.6)

    def gallbladder(self) -> None:
        c = self.canvas
        if self.rng.random() < 0.1:  # taken out
            return
        centre = np.array((-48, -44, -2)) + self.liver_shift + np.array((self.n(8), self.n(8), self.n(10)))
        sac = c.ellipsoid(centre, (self.u(10, 18), self.u(10, 18), self.u(18, 34)), (self.u(-35, 15), self.n(14), 0))
        mask = (sac.value < 1) & self.cavity[sac.block] & np.isin(c.labels[sac.block], (0, LIVER))
        c.paint(sac.block, mask, self.contrast(50, 60, 65, 8), GALLBLADDER)
        c.paint(sac.block, mask & (sac.value < 0.82), 8 + self.n(7), GALLBLADDER)
