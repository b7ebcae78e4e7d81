"""Debian packages: which are missing, and their installation, announced before it happens.

The image builder uses it too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable

from tests.cluster.say import ClusterError, say

# What a node needs beyond the programs that are built from source.
NODE_PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "iproute2",
    "conntrack",
    "socat",
    "openssl",
)


def missing_packages(packages: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed. Raises ClusterError where this is no Debian."""
    if shutil.which("dpkg-query") is None:
        raise ClusterError(f"not a Debian or Ubuntu: install by hand what the packages {', '.join(packages)} provide")
    wanted = list(packages)
    done = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def apt_install(packages: Iterable[str]) -> list[str]:
    """Installs the packages that are missing and returns them. Says first what it will install.

    Raises ClusterError without root, with the command to type, and where apt-get fails, with its output.
    """
    todo = missing_packages(packages)
    if not todo:
        return []
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *todo]
    if os.geteuid() != 0:
        raise ClusterError(f"packages are missing, and installing them needs root: sudo {' '.join(command)}")
    say(f"installing Debian packages: {' '.join(todo)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update", "--quiet"], command):
        done = subprocess.run(step, capture_output=True, text=True, check=False, env=env)
        if done.returncode != 0:
            end = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise ClusterError(f"{' '.join(step)} failed:\n{end}")
    return todo
