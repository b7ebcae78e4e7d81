"""The image builder: what decides a rebuild, what of the machine reaches a build, and the built images at work.

The last need an engine: Docker, or root for buildah. They take what `make images` built.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from images import archive, cache, catalogue, check, engines, machine
from images.build import archive_of, build, up_to_date
from images.say import ImageError
from tests.cluster.archive import images_in

NAMES = ("operator", "trainer-cpu")

DEB822 = """\
# a comment
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, machine.PUBLIC_MIRRORS, id="nothing set: the public ones"),
        pytest.param(
            {"sources.list.d/debian.sources": DEB822},
            machine.Mirrors("http://mirror.example/debian", "http://mirror.example/security"),
            id="deb822",
        ),
        pytest.param(
            {"sources.list": "deb [signed-by=/k.gpg] http://a.example/debian trixie main contrib # here\n"},
            machine.Mirrors("http://a.example/debian", None),
            id="one line, a mirror without security updates",
        ),
        pytest.param(
            {"sources.list": "deb http://u.example/u noble main\n#deb http://o.example/debian trixie main\n"},
            machine.PUBLIC_MIRRORS,
            id="another distribution and a comment",
        ),
        pytest.param(
            {"sources.list.d/off.sources": DEB822.replace("Types", "Enabled: no\nTypes")},
            machine.PUBLIC_MIRRORS,
            id="disabled",
        ),
    ],
)
def test_debian_mirrors_are_read_where_apt_reads_them(
    tmp_path: Path, files: dict[str, str], expected: machine.Mirrors
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert machine.mirrors(tmp_path) == expected


def test_pips_index_reaches_a_build_and_folders_of_this_machine_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@index.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/opt/wheels https://wheels.example/")
    monkeypatch.setenv("PIP_TARGET", "/somewhere")
    lines = machine.pip_conf().splitlines()
    assert "index-url = https://user:secret@index.example/simple" in lines
    assert "find-links = https://wheels.example/" in lines
    assert "cert = /run/secrets/ca.crt" in lines
    assert not any("target" in line for line in lines)
    assert {"index.example", "wheels.example"} <= check.machine_hosts()


def test_a_host_in_the_history_of_an_image_is_found() -> None:
    config = {"config": {"Env": []}, "history": [{"created_by": "RUN pip install -i https://index.example/simple x"}]}
    assert check.traces(config, {"index.example", "other.example"}) == [
        "its configuration names the host index.example"
    ]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with just what the operator's image is made of."""
    for name, text in {
        "LICENSE": "license",
        "pyproject.toml": Path(catalogue.ROOT, "pyproject.toml").read_text(),
        "requirements/operator.txt": "kopf==1",
        "images/operator/Dockerfile": "FROM scratch",
        "operator/orkhaven/__init__.py": "",
        "trainer/orkrun/__init__.py": "",
        "trainer/ctseg/__init__.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(catalogue, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("operator/orkhaven/__init__.py", True),
        ("operator/orkhaven/hub/page.html", True),
        ("trainer/orkrun/contract.py", True),
        ("requirements/operator.txt", True),
        ("images/operator/Dockerfile", True),
        ("trainer/ctseg/__init__.py", False),
        ("operator/orkhaven/__pycache__/__init__.cpython-313.pyc", False),
        ("operator/orkhaven/.page.html.swp", False),
        ("docs/start.md", False),
    ],
)
def test_an_image_is_built_anew_only_when_what_it_is_made_of_changes(checkout: Path, path: str, changes: bool) -> None:
    before = catalogue.find("operator").read().inputs("base")
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("something else")
    assert (catalogue.find("operator").read().inputs("base") != before) is changes


def test_another_base_is_another_image(checkout: Path) -> None:
    context = catalogue.find("operator").read()
    assert context.inputs("one") != context.inputs("two")


def test_the_same_files_are_laid_out_the_same(checkout: Path, tmp_path: Path) -> None:
    def laid_out(folder: Path) -> list[tuple[str, int, int]]:
        folder.mkdir()
        catalogue.find("operator").read().write(folder)
        found = [(str(p.relative_to(folder)), p.stat().st_mode, p.stat().st_mtime_ns) for p in folder.rglob("*")]
        return sorted(found)

    first = laid_out(tmp_path / "first")
    os.utime(checkout / "operator/orkhaven/__init__.py")
    assert laid_out(tmp_path / "second") == first
    assert "bin/orkhaven" in [name for name, _, _ in first]


def test_an_incomplete_checkout_is_told_by_the_file_that_is_missing(checkout: Path) -> None:
    (checkout / "requirements/operator.txt").unlink()
    with pytest.raises(ImageError, match=r"requirements/operator\.txt: No such file"):
        catalogue.find("operator").read()


def test_an_image_without_user_or_entrypoint_is_told_by_what_it_lacks() -> None:
    problems = check.config_problems({"config": {"Env": ["HOME=/root"]}}, catalogue.find("operator"))
    assert [problem.split(" is ")[0] for problem in problems] == [
        "user",
        "entrypoint",
        "HOME",
        "label licenses",
        "label version",
    ]


def test_progress_lines_name_the_steps_that_take_time_and_pass_over_cached_ones() -> None:
    now = [0.0]
    said: list[str] = []
    steps = engines.Steps(said.append, lambda: now[0])
    for seconds, line in (
        (0, "STEP 1/4: FROM localhost/orkhaven-base:trixie"),
        (0, "STEP 2/4: RUN apt-get update -q && apt-get install -qy --no-install-recommends python3 && rm x"),
        (0, "--> Using cache 0123"),
        (0, "STEP 3/4: RUN /opt/pip/bin/pip install x"),
        (0, "Collecting x"),
        (7, "STEP 4/4: COPY site /opt/orkhaven/site/"),
    ):
        now[0] += seconds
        steps.line(line)
    assert said == [
        "  Python packages of requirements.txt ...",
        "  Python packages of requirements.txt: 7 s",
    ]


def test_an_archive_holds_one_image_of_a_layout_and_the_rest_is_collected(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    entries = []
    for digit, name in (("a", "one"), ("b", "two")):
        manifest = {"config": {"digest": f"sha256:{digit}1"}, "layers": [{"digest": f"sha256:{digit}2"}]}
        (blobs / f"{digit}0").write_text(json.dumps(manifest))
        (blobs / f"{digit}1").write_text(json.dumps({"config": {"User": name}}))
        (blobs / f"{digit}2").write_text("layer")
        entries.append({"digest": f"sha256:{digit}0", "annotations": {"org.opencontainers.image.ref.name": name}})
    (blobs / "c0").write_text("nobody's")
    (layout / "index.json").write_text(json.dumps({"manifests": entries}))
    archive.pack(layout, name="two", tag="localhost/two:dev", target=tmp_path / "two.tar")
    assert archive.config(tmp_path / "two.tar") == {"config": {"User": "two"}}
    assert archive.collect(layout) == 1
    assert not (blobs / "c0").exists()
    with pytest.raises(ImageError, match="no image named three"):
        archive.pack(layout, name="three", tag="localhost/three:dev", target=tmp_path / "three.tar")


@pytest.mark.parametrize("wrong", ["trainer_cpu", ""])
def test_an_unknown_image_is_answered_with_those_there_are(wrong: str) -> None:
    with pytest.raises(ImageError, match="there are: operator, trainer-cpu, trainer"):
        build(wrong)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are built from a copy of the checkout, which nobody edits meanwhile; the same files, the same images."""
    if os.geteuid() != 0 and engines.find_docker() is None:
        pytest.skip("images are built by a Docker engine, which does not answer here, or by buildah as root")
    for name in ("images", "operator", "requirements", "trainer"):
        shutil.copytree(catalogue.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "pyproject.toml"):
        shutil.copy(catalogue.ROOT / name, tmp_path / name)
    monkeypatch.setattr(catalogue, "ROOT", tmp_path)


@pytest.mark.node
@pytest.mark.parametrize("name", NAMES)
def test_a_built_image_works_as_a_restricted_pod_and_is_not_built_twice(copy: None, name: str) -> None:
    path = build(name)
    check.check(name)
    said: list[str] = []
    before = path.stat().st_ino
    assert build(name, say=said.append) == path
    assert said == [f"{name}: up to date"]
    assert path.stat().st_ino == before
    assert up_to_date(name)
    assert archive_of(name) == path
    assert len(cache.archives(name)) <= cache.KEPT
    assert [image.name for image in images_in(path)] == [catalogue.find(name).tag]
