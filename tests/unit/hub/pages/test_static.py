"""What is vendored, and how scripts and styles are served."""

from __future__ import annotations

import hashlib
import json
import re

from orkhaven.hub.pages.static import FOLDER, assets, static_url, version
from tests.unit.hub.pages.conftest import Browser

VENDOR = FOLDER / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())


def test_every_vendored_file_is_in_the_manifest_unchanged() -> None:
    listed = {path: about["sha256"] for library in MANIFEST for path, about in library["files"].items()}
    there = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.is_file()} - {"manifest.json"}
    assert there == set(listed)
    for path, digest in listed.items():
        assert hashlib.sha256((VENDOR / path).read_bytes()).hexdigest() == digest, path


def test_every_vendored_library_says_its_licence_source_and_version() -> None:
    for library in MANIFEST:
        folder = f"{library['name']}-{library['version']}"
        assert all(path.startswith(f"{folder}/") for path in library["files"])
        assert f"{folder}/LICENSE" in library["files"]
        assert library["license"]
        assert library["source"].endswith(f"@{library['version']}")


def test_our_own_scripts_and_styles_load_nothing_from_elsewhere() -> None:
    for path in [*FOLDER.glob("js/*.js"), *FOLDER.glob("css/*.css")]:
        found = re.findall(
            r"""(?:https?:)?//[a-z0-9-]+\.[a-z]+|innerHTML|\beval\(|new Function""",
            path.read_text().replace("http://www.w3.org/2000/svg", ""),
        )
        assert found == [], path.name


async def test_a_file_is_kept_for_good_by_its_digest_and_packed_where_that_helps(anonymous: Browser) -> None:
    answer = await anonymous.client.get(static_url("css/base.css"))
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == assets()["css/base.css"].plain
    plain = await anonymous.client.get(static_url("css/base.css"), headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    old = await anonymous.client.get("/static/000000000000/css/base.css")
    assert old.headers["cache-control"] == "no-cache"


async def test_there_is_no_way_out_of_the_folder(anonymous: Browser) -> None:
    for path in ("..%2fsession.py", "%2e%2e%2f%2e%2e%2fsession.py", "css", "css/none.css"):
        assert (await anonymous.client.get(f"/static/{version()}/{path}")).status_code == 404, path
