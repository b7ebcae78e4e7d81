"""The token that the hub gets to see: the user's own, so that it shows them what `kubectl get` would.

The hub asks the API server whose token it is (TokenReview). A client certificate cannot be passed on like that, so a
user who logs in with one names a token or a service account instead.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orkhaven.client.connect import SERVICE_ACCOUNT, Target, in_pod
from orkhaven.client.errors import NoKubectl, NoToken

ENV_TOKEN = "ORKHAVEN_TOKEN"
ENV_ACCOUNT = "ORKHAVEN_SERVICE_ACCOUNT"
PLUGIN_SECONDS = 180
"""A credential plugin may wait for a person to log in with a browser."""

HOW = (
    f"set {ENV_TOKEN}, or {ENV_ACCOUNT}=NAME for a token of that service account "
    "(kubectl create serviceaccount NAME; kubectl create rolebinding NAME --clusterrole=view "
    "--serviceaccount=NAMESPACE:NAME)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChoice:
    """What the user said about it; nothing: the user's own."""

    token: str | None = None
    service_account: str | None = None


def token_of(
    target: Target,
    choice: TokenChoice,
    *,
    namespace: Callable[[], str],
    env: Mapping[str, str] = os.environ,
    account: Path = SERVICE_ACCOUNT,
) -> str:
    """`namespace`: where a service account is looked for. Raises NoToken, which says what would do."""
    given = choice.token or env.get(ENV_TOKEN)
    if given:
        return given.strip()
    named = choice.service_account or env.get(ENV_ACCOUNT)
    if named:
        return _created(target, named, namespace=namespace())
    try:
        user = _user(target)
    except NoKubectl:
        user = {}
    if target.impersonate and user:
        raise NoToken("a token says who you are, so --as does not reach the hub", hint=HOW)
    if user.get("token"):
        return str(user["token"])
    if user.get("tokenFile"):
        return Path(user["tokenFile"]).read_text().strip()
    if user.get("exec"):
        return _by_plugin(user["exec"], user["cluster"], env=env)
    if not user and in_pod(env, account):
        return (account / "token").read_text().strip()
    if user.get("client-certificate") or user.get("client-certificate-data"):
        why = "your kubeconfig logs in with a client certificate, which only the API server itself can check"
    else:
        why = "your kubeconfig has no token"
    raise NoToken(f"the hub needs a token, and {why}", hint=HOW)


def _user(target: Target) -> dict[str, Any]:
    """The user of the current context as kubectl has merged it, its cluster beside it."""
    done = subprocess.run(
        target.kubectl("config", "view", "--raw", "--minify", "-o", "json"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {}
    config = json.loads(done.stdout)
    users = config.get("users") or [{}]
    clusters = config.get("clusters") or [{}]
    return {**(users[0].get("user") or {}), "cluster": clusters[0].get("cluster") or {}}


def _created(target: Target, account: str, *, namespace: str) -> str:
    command = target.kubectl("create", "token", account, "--namespace", namespace)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().removeprefix("error: ")
        raise NoToken(f"no token for service account {account!r} in namespace {namespace!r}: {why}", hint=HOW)
    return done.stdout.strip()


def _by_plugin(plugin: dict[str, Any], cluster: dict[str, Any], *, env: Mapping[str, str]) -> str:
    """What a credential plugin answers, run as client-go runs it."""
    asked = {
        "apiVersion": plugin.get("apiVersion", "client.authentication.k8s.io/v1"),
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    if plugin.get("provideClusterInfo"):
        known = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
        asked["spec"]["cluster"] = {name: cluster[name] for name in known if name in cluster}
    more = {pair["name"]: pair["value"] for pair in plugin.get("env") or ()}
    command = [plugin["command"], *(plugin.get("args") or ())]
    try:
        done = subprocess.run(
            command,
            env={**env, **more, "KUBERNETES_EXEC_INFO": json.dumps(asked)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # its questions go to standard error: to the person
            text=True,
            check=False,
            timeout=PLUGIN_SECONDS,
        )
    except FileNotFoundError:
        raise NoToken(
            f"your kubeconfig logs in by {plugin['command']}, which is not there", hint=plugin.get("installHint") or HOW
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoToken(f"{plugin['command']}: {error}", hint=HOW) from error
    if done.returncode:
        raise NoToken(f"{plugin['command']} ended with exit code {done.returncode}", hint=HOW)
    try:
        token = json.loads(done.stdout)["status"]["token"]
    except (ValueError, KeyError, TypeError):
        raise NoToken(f"{plugin['command']} gave no token (a certificate does not reach the hub)", hint=HOW) from None
    return str(token)
