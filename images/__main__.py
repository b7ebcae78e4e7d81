"""The command line: `python3 -m images build | check | archive | status | clean`, from the root of the checkout."""

from __future__ import annotations

import argparse
import sys

from images import cache, catalogue
from images.build import archive_of, build, up_to_date
from images.say import ImageError, to_stderr


def main(argv: list[str]) -> int:
    """Exit code 0: done; 1: not, and a line says why; 2: wrong arguments."""
    options = _parser().parse_args(argv)
    try:
        result: int = options.run(options)
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m images", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    names = argparse.ArgumentParser(add_help=False)
    names.add_argument("names", nargs="*", metavar="IMAGE", help=f"of {', '.join(catalogue.IMAGES)}")
    names.add_argument("--all", action="store_true", help="every image")

    builds = verbs.add_parser("build", parents=[names], help="build the images whose inputs changed")
    builds.add_argument(
        "--force", action="store_true", help="build anyway: from an updated base, without cached layers"
    )
    builds.set_defaults(run=_build)
    checks = verbs.add_parser(
        "check", parents=[names], help="run what is built, as a restricted pod would, and see it work"
    )
    checks.set_defaults(run=_check)
    archives = verbs.add_parser("archive", parents=[names], help="print the path of the archive of a built image")
    archives.set_defaults(run=_archive)
    status = verbs.add_parser("status", help="what is built, and how large it is")
    status.set_defaults(run=_status)
    clean = verbs.add_parser("clean", help="remove all images and everything that the builder keeps")
    clean.set_defaults(run=_clean)
    return parser


def _names(options: argparse.Namespace) -> list[str]:
    chosen = list(catalogue.IMAGES) if options.all else options.names
    if not chosen:
        raise ImageError(f"which image? One or more of {', '.join(catalogue.IMAGES)}, or --all")
    return [catalogue.find(name).name for name in chosen]


def _build(options: argparse.Namespace) -> int:
    for name in _names(options):
        build(name, force=options.force)
    return 0


def _check(options: argparse.Namespace) -> int:
    from images.check import check

    for name in _names(options):
        check(name, say=to_stderr)
    return 0


def _archive(options: argparse.Namespace) -> int:
    for name in _names(options):
        print(archive_of(name))
    return 0


def _status(options: argparse.Namespace) -> int:
    for name in catalogue.IMAGES:
        state = "up to date" if up_to_date(name) else "to be built"
        sizes = ", ".join(f"{path.stat().st_size / 1e6:.0f} MB" for path in cache.archives(name))
        print(f"{name:<14} {state:<14} archives: {sizes or 'none'}")
    print(f"in {cache.folder()}")
    return 0


def _clean(options: argparse.Namespace) -> int:
    from images.clean import clean

    clean(say=to_stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
