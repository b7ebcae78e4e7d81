"""Builds a network and finds out what it needs: its stride, its smallest image, options of its encoder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.func import functional_call

import orkrun
from ctseg.config import Model
from ctseg.models.names import check_encoder
from ctseg.models.network import Network, accept_one_value, fitting
from ctseg.models.weights import load_weights

_SMALLEST = (0, 64, 128)
"""Pixels of a side that are tried. PAN halves the deepest map, of stride 16, three times more: 128."""

_REFUSALS = (
    ValueError,
    TypeError,
    RuntimeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    NotImplementedError,
)
"""What decoders and encoders raise where a pair or a size does not fit."""


def build(config: Model, *, image_size: int, channels: int = 1) -> Network:
    """The network: (N, C, S, S) of 0..1 to (N, 1, S, S) logits, for S = `image_size` and C = `channels`. On the CPU,
    in training mode; trains from a batch of one on.

    Parameters that no output depends on (smp keeps the encoder's stages that a decoder leaves out) do not require
    gradients. Initialised from torch's global random state. Raises orkrun.InvalidParams.
    """
    check_encoder(config.encoder)
    model = _fit(config, image_size=image_size, channels=channels)
    if config.weights is not None:
        load_weights(model, Path(config.weights))
    return model.train()


def parameter_count(model: nn.Module) -> int:
    """Of those that learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _fit(config: Model, *, image_size: int, channels: int) -> Network:
    random_state = torch.get_rng_state()
    refusal: Exception | None = None
    for told_size in (False, True):  # only some transformers want to be told, and others refuse to be
        torch.set_rng_state(random_state)
        try:
            return _fit_one(config, image_size=image_size, channels=channels, told_size=told_size)
        except _REFUSALS as error:
            refusal = refusal or error
    raise orkrun.InvalidParams(
        "model.encoder",
        f"{config.encoder} does not work with {config.architecture} on {image_size} x {image_size} pixels: {refusal}",
    ) from refusal


def _fit_one(config: Model, *, image_size: int, channels: int, told_size: bool) -> Network:
    size = fitting(image_size, stride=32, smallest=64)
    network = create(
        config.architecture, config.encoder, channels=channels, **({"img_size": size} if told_size else {})
    )
    refusal: Exception | None = None
    stride = size if told_size else int(network.get_submodule("encoder").output_stride)  # type: ignore[arg-type]
    choices = (size,) if told_size else _SMALLEST
    for smallest in choices:
        padded = fitting(image_size, stride=stride, smallest=smallest)
        try:
            shape, single, unused = _try(network, torch.Size((1, channels, padded, padded)))
        except _REFUSALS as error:
            refusal = refusal or error
            continue
        if shape != (1, 1, padded, padded):
            raise ValueError(f"it makes {tuple(shape)} of {padded} x {padded} pixels")
        plain = [name for name in single if type(network.get_submodule(name)) is nn.BatchNorm2d]
        if len(plain) < len(single) and smallest != choices[-1]:
            # A map of one pixel in timm's own kind of normalisation: the encoder's last, of an image that is too small.
            continue
        for name in unused:
            network.get_parameter(name).requires_grad_(False)
        accept_one_value(network, plain)
        return Network(network, stride=stride, smallest=max(smallest, stride))
    assert refusal is not None
    raise refusal


def create(architecture: str, encoder: str, *, channels: int, **options: Any) -> nn.Module:
    """segmentation-models-pytorch's network, without weights from anywhere."""
    decoder = getattr(smp, architecture)
    arguments: dict[str, Any] = {
        "encoder_name": encoder,
        "encoder_weights": None,
        "in_channels": channels,
        "classes": 1,
        **options,
    }
    if architecture != "DPT":
        return decoder(**arguments)  # type: ignore[no-any-return]
    arguments["dynamic_img_size"] = True
    random_state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is about the readout, which is set right just below
        network: nn.Module = decoder(**arguments)
    if network.get_submodule("encoder").has_prefix_tokens:
        return network
    torch.set_rng_state(random_state)
    return decoder(**arguments, decoder_readout="ignore")  # type: ignore[no-any-return]


def _try(network: nn.Module, shape: torch.Size) -> tuple[torch.Size, list[str], list[str]]:
    """The shape of the output, the names of the batch normalisations that saw one value per channel, and those of the
    parameters that the output does not depend on.

    On the meta device: shapes without numbers, some milliseconds for any size. What cannot run there runs on the CPU.
    """
    single: list[str] = []
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):

            def note(_: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
                if inputs[0].shape[2:].numel() == 1:
                    single.append(name)

            hooks.append(module.register_forward_pre_hook(note))
    training = network.training
    network.eval()
    try:
        try:
            output, unused = _forward(network, shape, "meta")
        except _REFUSALS:
            single.clear()
            output, unused = _forward(network, shape, "cpu")
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return output, list(dict.fromkeys(single)), unused


def _forward(network: nn.Module, shape: torch.Size, device: str) -> tuple[torch.Size, list[str]]:
    parameters = {name: value.detach().to(device).requires_grad_() for name, value in network.named_parameters()}
    buffers = {name: value.to(device) for name, value in network.named_buffers()}
    output = functional_call(network, parameters | buffers, (torch.zeros(shape, device=device),))
    gradients = torch.autograd.grad(output.sum(), list(parameters.values()), allow_unused=True)
    return output.shape, [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None]
