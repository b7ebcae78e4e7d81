"""`ctseg models`: which networks there are."""

from __future__ import annotations

import argparse
from typing import Any

from ctseg import config


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "models", help="list architectures and encoders", epilog="Example: `ctseg models --encoders`"
    )
    parser.add_argument("--encoders", action="store_true", help="every encoder by name, timm's included")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    from ctseg import models

    if arguments.encoders:
        print("\n".join(models.encoder_names(with_timm=True)))
        return 0
    own, every = models.encoder_names(with_timm=False), models.encoder_names(with_timm=True)
    print("architectures, with the million parameters each has over the default encoder:")
    for name in config.ARCHITECTURES:
        print(f"  {name:<14} {_size(name)}")
    print(
        f"encoders: {len(every)}; {len(own)} by name ({', '.join(own[:6])}, ...), "
        f"{len(every) - len(own)} of timm's as tu-..."
    )
    print("`ctseg models --encoders` lists them all")
    return 0


def _size(architecture: str) -> str:
    from ctseg import models

    encoder = "tu-vit_tiny_patch16_224" if architecture == "DPT" else config.Model().encoder
    chosen = config.Model.model_validate({"architecture": architecture, "encoder": encoder})
    return f"{models.parameter_count(models.build(chosen, image_size=128)) / 1e6:6.1f}  {encoder}"
