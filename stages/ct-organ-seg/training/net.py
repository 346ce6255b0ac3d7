"""The organ net: a small 3D U-Net for one CPU thread, 1x1x64x64x80 in, 10 classes out.

All deep layers work at half resolution (10 mm): the stem folds 2x2x2 voxels into channels. Two coordinate channels, x
and y around the body's middle, tell left from right; there is none for z, because a window may lie anywhere along it.
A transposed convolution brings the features back to 5 mm, where one convolution sees them beside the image.
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


class OrganNet(nn.Module):
    """HU window values [1, 1, 64, 64, 80] -> logits [1, 10, 64, 64, 80]."""

    coords: Tensor

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 96), fine: int = 10) -> None:
        super().__init__()
        self.stem = block(8 + 2, channels[0])
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        self.down = nn.ModuleList(nn.Sequential(block(a, b, 2), block(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(block(b + a, a) for a, b in reversed(pairs))
        self.unfold = nn.Sequential(nn.ConvTranspose3d(channels[0], fine, 2, 2), nn.LeakyReLU(0.01, inplace=True))
        self.head = nn.Conv3d(fine + 1, CLASSES, 3, 1, 1)
        depth, height, width = (n // 2 for n in SIZE)
        y = torch.linspace(-1, 1, height)[None, :, None].expand(depth, height, width)
        x = torch.linspace(-1, 1, width)[None, None].expand(depth, height, width)
        self.register_buffer("coords", torch.stack((y, x))[None].contiguous())

    def forward(self, image: Tensor) -> Tensor:
        depth, height, width = (n // 2 for n in SIZE)
        folded = image.reshape(1, depth, 2, height, 2, width, 2).permute(0, 2, 4, 6, 1, 3, 5)
        features = self.stem(torch.cat((folded.reshape(1, 8, depth, height, width), self.coords), 1))
        skips = [features]
        for down in self.down:
            skips.append(down(skips[-1]))
        features = skips.pop()
        for up in self.up:
            features = F.interpolate(features, scale_factor=2.0, mode="trilinear", align_corners=False)
            features = up(torch.cat((features, skips.pop()), 1))
        logits: Tensor = self.head(torch.cat((self.unfold(features), image), 1))
        return logits


class Served(nn.Module):
    """What is exported: logits -> uint8 labels [1, 64, 64, 80]."""

    def __init__(self, net: OrganNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image).argmax(1).to(torch.uint8)
