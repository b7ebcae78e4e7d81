"""What has to hold of each preset: for the unit tests with some, for the bench with all."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ctseg import config, models


def trains_and_resumes(build: Callable[..., models.Network], name: str, *, size: int, batch_size: int) -> None:
    """Every parameter that learns has a gradient; after a step a second network from the state has the same output bit
    for bit.
    """
    torch.manual_seed(1)
    model, preset = build(name, size, channels=2), config.PRESETS[name]
    assert model.fitting(size) == max(-(-size // preset.stride) * preset.stride, preset.smallest)
    images = torch.rand(batch_size, 2, size, size)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    logits = model(images)
    assert logits.shape == (batch_size, 1, size, size)
    target = torch.zeros_like(logits)
    target[..., : size // 2] = 1
    torch.nn.functional.binary_cross_entropy_with_logits(logits, target).backward()
    unmoved = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not unmoved, unmoved
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    optimizer.step()
    torch.manual_seed(2)
    again = build(name, size, channels=2)
    again.load_state_dict(model.state_dict())
    with torch.inference_mode():
        after, resumed = model.eval()(images), again.eval()(images)
    assert torch.isfinite(after).all()
    assert torch.equal(after, resumed)
