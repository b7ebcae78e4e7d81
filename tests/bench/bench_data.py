"""Decoding against the cache, per core: CPU seconds of this process with one thread, both in the same run.
`make bench`, or `pytest tests/bench/bench_data.py -s -o python_files='bench_*.py'`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ctseg import config
from ctseg.data.load import load
from ctseg.phantom.write import write_phantom
from tests.bench import pictures as slices_of_512

EPOCHS = 3
PICTURES = 40


def cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


@pytest.fixture(scope="module", params=["pictures", "volumes"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "volumes":
        write_phantom(root, patients=2, slices=20, size=256, seed=0)
        return request.param, root
    slices_of_512.write(root, PICTURES)
    return request.param, root


def test_building_the_cache_pays_within_three_epochs(data: tuple[str, Path], tmp_path: Path) -> None:
    name, root = data
    params = config.Data(image_size=352)

    def read(folder: Path | None) -> int:
        samples = load(params, mount=str(root), workers=1, cache_folder=folder)
        index = np.random.default_rng(0).permutation(len(samples))
        return sum(int(samples.images[i].max()) + int(samples.masks[i].max()) for i in index)

    read(None)
    decoded = min(cpu(lambda: read(None)) for _ in range(3))
    built = cpu(lambda: read(tmp_path))
    mapped = min(cpu(lambda: read(tmp_path)) for _ in range(3))
    count = len(load(params, mount=str(root), workers=1, cache_folder=tmp_path))
    ratio = EPOCHS * decoded / (built + (EPOCHS - 1) * mapped)
    print(
        f"\n{name}: {count} slices of 352 px; per core decoded {count / decoded:,.0f}/s, built {count / built:,.0f}/s, "
        f"mapped {count / mapped:,.0f}/s; {EPOCHS} epochs {ratio:.2f} times faster with the cache, build included"
    )
    assert ratio >= 1.5
    assert decoded / mapped >= 5
