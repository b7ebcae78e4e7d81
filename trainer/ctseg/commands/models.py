"""`ctseg models`: which networks there are."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from ctseg import config


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "models",
        help="list networks: presets, architectures, encoders",
        description="Presets with millions of parameters that learn and 10^9 operations (two for each multiply-add) of "
        "a forward pass of one slice of 512 x 512 pixels.",
        epilog="Example: `ctseg models --encoders`; `ctseg train --set model.preset=unet-resnet34 --output run`",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--encoders", action="store_true", help="every encoder by name, timm's included")
    what.add_argument("--measure", action="store_true", help="build and measure each preset now: about half a minute")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.encoders:
        from ctseg import models

        names = models.encoder_names(with_timm=True)
        print(json.dumps(names) if arguments.json else "\n".join(names))
        return 0
    rows = [{"preset": name, **asdict(preset)} for name, preset in config.PRESETS.items()]
    if arguments.measure:
        rows = [_measured(row) for row in rows]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return 0
    print(f"{'preset':<30}{'architecture':<15}{'encoder':<33}{'M param':>8}{'GFLOP':>8}  sizes")
    for row in rows:
        sizes = f"n x {row['stride']}" + (f" from {row['smallest']}" if row["smallest"] else "")
        print(
            f"{row['preset']:<30}{row['architecture']:<15}{row['encoder']:<33}"
            f"{row['parameters']:>8.1f}{row['gflop']:>8.1f}  {sizes}"
        )
    print("Other image sizes are continued at their borders up to the next of these. All train from a batch of 1 on.")
    print(f"Or any of the architectures ({', '.join(config.ARCHITECTURES)}) with any encoder that fits it:")
    print("`ctseg models --encoders` lists them.")
    return 0


def _measured(row: dict[str, Any]) -> dict[str, Any]:
    from ctseg.models.cost import measure

    cost = measure(config.Model.model_validate({"preset": row["preset"]}))
    return {**row, "parameters": round(cost.parameters, 2), "gflop": round(cost.gflop, 1)}
