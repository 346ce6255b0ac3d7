"""The organ net: a small 3D U-Net for one CPU thread, 1x1x64x64x80 in, 10 classes out.

No layer works at full resolution: the stem folds 2x2x2 voxels into channels (10 mm), and the head answers with the
2x2x2 voxels' classes as channels, from the features and the folded image. Two coordinate channels, x and y around the
body's middle, tell left from right; there is none for z, because a window may lie anywhere along it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = (64, 64, 80)
CLASSES = 10


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    )


def fold(image: Tensor) -> Tensor:
    """[n, 1, z, y, x] -> [n, 8, z/2, y/2, x/2]"""
    n, (depth, height, width) = image.shape[0], (size // 2 for size in SIZE)
    parts = image.reshape(n, depth, 2, height, 2, width, 2).permute(0, 2, 4, 6, 1, 3, 5)
    return parts.reshape(n, 8, depth, height, width)


def unfold(features: Tensor) -> Tensor:
    """[n, 8 * classes, z/2, y/2, x/2] -> [n, classes, z, y, x]"""
    n, (depth, height, width) = features.shape[0], (size // 2 for size in SIZE)
    parts = features.reshape(n, CLASSES, 2, 2, 2, depth, height, width).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return parts.reshape(n, CLASSES, *SIZE)


class OrganNet(nn.Module):
    """Input values [n, 1, 64, 64, 80] -> logits [n, 10, 64, 64, 80]."""

    coords: Tensor

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.stem = block(8 + 2, channels[0])
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        self.down = nn.ModuleList(nn.Sequential(block(a, b, 2), block(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(block(b + a, a) for a, b in reversed(pairs))
        self.head = nn.Conv3d(channels[0] + 8, 8 * CLASSES, 1)
        depth, height, width = (n // 2 for n in SIZE)
        y = torch.linspace(-1, 1, height)[None, :, None].expand(depth, height, width)
        x = torch.linspace(-1, 1, width)[None, None].expand(depth, height, width)
        self.register_buffer("coords", torch.stack((y, x))[None].contiguous())

    def forward(self, image: Tensor) -> Tensor:
        folded = fold(image)
        coords = self.coords.expand(image.shape[0], -1, -1, -1, -1)
        skips = [self.stem(torch.cat((folded, coords), 1))]
        for down in self.down:
            skips.append(down(skips[-1]))
        features = skips.pop()
        for up in self.up:
            features = F.interpolate(features, scale_factor=2.0, mode="trilinear", align_corners=False)
            features = up(torch.cat((features, skips.pop()), 1))
        return unfold(self.head(torch.cat((features, folded), 1)))


class Served(nn.Module):
    """What is exported: logits -> uint8 labels [1, 64, 64, 80]."""

    def __init__(self, net: OrganNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image).argmax(1).to(torch.uint8)
