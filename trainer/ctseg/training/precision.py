"""Which numbers the network computes with. Weights, gradients' sums, losses and the optimizer stay float32."""

from __future__ import annotations

import torch

from ctseg.config import Params


class Precision:
    """Autocast and, for fp16, the scaler that keeps small gradients from becoming 0."""

    def __init__(self, params: Params, device: torch.device) -> None:
        self._device = device.type
        name = params.precision
        if name == "auto":
            name = "fp32"
            if device.type == "cuda":
                name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        self.name: str = name
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> torch.autocast:
        return torch.autocast(self._device, dtype=self._dtype, enabled=self.name != "fp32")
