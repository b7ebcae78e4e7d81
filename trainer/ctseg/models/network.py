"""What lets a network take images of any size and batches of one: padding to its stride, and batch normalisation
that knows what to do with a single value.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Network(nn.Module):
    """A decoder over an encoder, for images of any size: (N, C, H, W) to logits (N, 1, H, W).

    The image is continued at all four sides by its border's pixels up to the next multiple of `stride`, at least to
    `smallest`; the logits are cropped back. Nothing is done to an image that fits already.
    """

    def __init__(self, network: nn.Module, *, stride: int, smallest: int) -> None:
        super().__init__()
        self.network = network
        self.stride = stride
        self.smallest = smallest

    @property
    def encoder(self) -> nn.Module:
        return self.network.get_submodule("encoder")

    def fitting(self, size: int) -> int:
        """The pixels of a side that the network sees of an image of `size` pixels."""
        return fitting(size, stride=self.stride, smallest=self.smallest)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        extra_y, extra_x = self.fitting(height) - height, self.fitting(width) - width
        if not (extra_y or extra_x):
            return self.network(images)  # type: ignore[no-any-return]
        top, left = extra_y // 2, extra_x // 2
        padded = F.pad(images, (left, extra_x - left, top, extra_y - top), mode="replicate")
        return self.network(padded)[..., top : top + height, left : left + width]  # type: ignore[no-any-return]


def fitting(size: int, *, stride: int, smallest: int) -> int:
    return -(-max(size, smallest) // stride) * stride


class BatchNormOfOne(nn.BatchNorm2d):
    """Batch normalisation which, in training, takes a single value per channel as it is in evaluation: by the running
    mean and variance, which that value does not change. A variance of one value is 0, and torch refuses it.

    It stands behind the global pooling of PAN, DeepLabV3 and DeepLabV3Plus, where a batch of one slice is one value.
    From two slices on it is BatchNorm2d.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training and images.shape[0] * images.shape[2] * images.shape[3] == 1:
            return F.batch_norm(
                images, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(images)


def accept_one_value(network: nn.Module, names: list[str]) -> None:
    """Replaces these BatchNorm2d modules, weights and names kept."""
    for name in names:
        old = network.get_submodule(name)
        assert isinstance(old, nn.BatchNorm2d)
        new = BatchNormOfOne(
            old.num_features,
            eps=old.eps,
            momentum=old.momentum,
            affine=old.affine,
            track_running_stats=old.track_running_stats,
        )
        new.load_state_dict(old.state_dict())
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, new)
