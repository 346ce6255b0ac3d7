"""Moving a volume between grids, judged by a field whose value is its position: 3x + 5y + 8z."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from clara_argo.demo.grid import Grid, OtherGrid, of_header, onto, upright
from clara_driver.volume import Header

SHAPE = (4, 5, 6)
SPACING = np.array([1.5, 1.25, 2.0])


def field(grid: Grid) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*(np.arange(size) for size in grid.shape), indexing="ij"), -1)
    where = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    out: NDArray[np.float64] = where @ np.array([3.0, 5.0, 8.0]) + 1000
    return out


def plain() -> Grid:
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-20, -15, -12)
    return Grid(SHAPE, affine)


def turned(grid: Grid, axes: tuple[int, ...], flips: tuple[int, ...]) -> Grid:
    """The same voxels with axes in another order and sense."""
    affine = np.eye(4)
    affine[:3, 3] = grid.affine[:3, 3]
    for new, old in enumerate(axes):
        affine[:3, new] = grid.affine[:3, old] * (-1 if flips[new] else 1)
        if flips[new]:
            affine[:3, 3] += grid.affine[:3, old] * (grid.shape[old] - 1)
    shape = tuple(grid.shape[axis] for axis in axes)
    return Grid((shape[0], shape[1], shape[2]), affine)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((0, 1), repeat=3)))
def test_every_order_and_sense_of_axes_comes_back(axes: tuple[int, ...], flips: tuple[int, ...]) -> None:
    other = turned(plain(), axes, flips)
    assert np.allclose(onto(field(other), other.affine, plain()), field(plain()))
    straight, spacing = upright(field(other), other.affine)
    assert np.allclose(straight, field(plain())) and np.allclose(spacing, SPACING)


def test_a_part_of_the_grid_is_filled_with_zeros() -> None:
    grid = plain()
    part = field(grid)[:, :, 2:4]
    affine = grid.affine.copy()
    affine[:3, 3] += 2 * affine[:3, 2]
    back = onto(part, affine, grid)
    assert np.array_equal(back[:, :, 2:4], part) and not back[:, :, :2].any() and not back[:, :, 4:].any()


def test_a_single_plane_takes_the_step_of_the_target() -> None:
    grid = plain()
    affine = grid.affine.copy()
    affine[:3, 3] += 3 * affine[:3, 2]
    affine[:3, 2] /= 3  # a slice thickness that is not the spacing
    assert np.array_equal(onto(field(grid)[:, :, 3:4], affine, grid)[:, :, 3], field(grid)[:, :, 3])


@pytest.mark.parametrize(
    "change", [(0, 3, 0.3), (2, 2, 0.1), (0, 1, 0.05)], ids=["half a voxel off", "other spacing", "oblique"]
)
def test_other_positions_are_refused(change: tuple[int, int, float]) -> None:
    affine = plain().affine.copy()
    affine[change[0], change[1]] += change[2]
    with pytest.raises(OtherGrid):
        onto(field(plain()), affine, plain())


def test_header_columns_are_directions() -> None:
    header = Header(
        size=SHAPE, spacing=(1.5, 1.25, 2.0), origin=(1.0, 2.0, 3.0), direction=(0, 1, 0, 1, 0, 0, 0, 0, -1)
    )
    affine = of_header(header).affine
    assert affine[:3, 0].tolist() == [0, 1.5, 0] and affine[:3, 1].tolist() == [1.25, 0, 0]
    assert affine[:3, 2].tolist() == [0, 0, -2.0] and affine[:3, 3].tolist() == [1, 2, 3]
