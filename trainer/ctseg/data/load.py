"""From the data part of the parameters to `Samples`: finds the folder, recognises its layout, reads or generates."""

from __future__ import annotations

from pathlib import Path

import orkrun
from ctseg import config
from ctseg.data import covid_semiseg, phantom_folder
from ctseg.data.samples import Samples


def load(data: config.Data, *, mount: str | None, workers: int) -> Samples:
    """All slices. `mount`: where the experiment's first data volume is mounted, the default root. Raises
    orkrun.DataError.
    """
    given = data.root or mount
    if given is None:
        if data.kind == "covid-semiseg":
            raise orkrun.InvalidParams(
                "data.root", "covid-semiseg needs a folder, and the experiment has no data mount"
            )
        return phantom_folder.generate(data.phantom, image_size=data.image_size, windows=data.windows)
    root = Path(given)
    if not root.is_dir():
        raise orkrun.DataError(root, "there is no such folder (data.root, or the experiment's first data mount)")
    kind = data.kind
    if kind == "auto":
        if phantom_folder.is_phantom(root):
            kind = "phantom"
        elif covid_semiseg.find(root, data.subset):
            kind = "covid-semiseg"
        else:
            held = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
            raise orkrun.DataError(
                root,
                f"holds neither a {phantom_folder.TABLE} (ctseg phantom) nor a COVID-SemiSeg layout with "
                f"{data.subset} labels, but {held}",
            )
    if kind == "phantom":
        return phantom_folder.read(root, image_size=data.image_size, windows=data.windows, workers=workers)
    return covid_semiseg.read(root, subset=data.subset, image_size=data.image_size, workers=workers)
