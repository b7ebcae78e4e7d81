"""The fault proxy before a small HTTPS server: passes on what it should, and does each kind of wrong."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.chaos.proxy import FaultProxy, Trouble
from tests.cluster.pki import Pki, Subject


class Upstream(BaseHTTPRequestHandler):
    """Says what it was asked; a watch sends two lines and then nothing more until it is cut off."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    over: threading.Event

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.asked.append(f"{self.command} {self.path}")
        if "watch=1" in self.path:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\na\n\r\n2\r\nb\n\r\n")
            self.over.wait(20)
            self.close_connection = True
            return
        text = json.dumps({"authorization": self.headers["Authorization"], "body": body.decode()}).encode()
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Served:
    """The proxy, with something behind it."""

    def __init__(self, folder: Path) -> None:
        pki = Pki(folder)
        pki.create({"apiserver": Subject("kube-apiserver", addresses=("127.0.0.1",))})
        self.asked: list[str] = []
        self.over = threading.Event()
        handler = type("Handler", (Upstream,), {"asked": self.asked, "over": self.over})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pki.certificate("apiserver"), pki.key("apiserver"))
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.proxy = FaultProxy(
            f"https://127.0.0.1:{self.server.server_port}",
            ca=pki.ca,
            certificate=pki.certificate("apiserver"),
            key=pki.key("apiserver"),
            late=0.3,
        ).start()
        self._trust = ssl.create_default_context(cafile=str(pki.ca))

    def open(self, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection("127.0.0.1", self.proxy.port, context=self._trust, timeout=20)
        connection.request(method, path, body=body, headers={"Authorization": "Bearer token"})
        return connection.getresponse()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("pki"))
    yield made
    made.over.set()
    made.proxy.stop()
    made.server.shutdown()
    made.server.server_close()


def test_without_trouble_everything_passes_with_its_code_and_its_credentials(served: Served) -> None:
    answer = served.open("POST", "/api/v1/pods?dryRun=All", '{"kind": "Pod"}')
    assert (answer.status, json.load(answer)) == (200, {"authorization": "Bearer token", "body": '{"kind": "Pod"}'})
    assert served.open("GET", "/missing").status == 404
    assert served.asked[-2:] == ["POST /api/v1/pods?dryRun=All", "GET /missing"]


@pytest.mark.parametrize(("trouble", "code"), [(Trouble.THROTTLED, 429), (Trouble.BROKEN, 500)])
def test_refused_requests_are_not_executed(served: Served, trouble: Trouble, code: int) -> None:
    before = list(served.asked)
    with served.proxy.troubled(trouble):
        answer = served.open("GET", "/api/v1/pods")
        assert (answer.status, json.load(answer)["code"]) == (code, code)
    assert served.asked == before
    assert served.proxy.hit[trouble] == 1
    assert served.open("GET", "/api/v1/pods").status == 200


def test_a_lost_answer_is_of_a_request_that_was_executed(served: Served) -> None:
    with served.proxy.troubled(Trouble.LOST), pytest.raises((http.client.HTTPException, OSError)):
        served.open("POST", "/lost", "{}")
    assert served.asked[-1] == "POST /lost"


def test_a_late_answer_is_the_right_one(served: Served) -> None:
    with served.proxy.troubled(Trouble.LATE):
        answer = served.open("POST", "/late", "x")
    assert json.load(answer)["body"] == "x"
    assert served.proxy.hit[Trouble.LATE] == 1


def test_a_watch_streams_and_breaks_in_the_middle_when_it_is_cut(served: Served) -> None:
    answer = served.open("GET", "/api/v1/pods?watch=1")
    assert [answer.readline(), answer.readline()] == [b"a\n", b"b\n"]
    assert served.proxy.cut() == 1
    with pytest.raises((http.client.HTTPException, OSError)):
        answer.read()


def test_a_watch_is_told_in_both_ways_that_its_version_is_gone(served: Served) -> None:
    with served.proxy.troubled(Trouble.GONE):
        at_once, in_stream = (served.open("GET", "/api/v1/pods?watch=1") for _ in range(2))
        assert at_once.status == 410
        assert in_stream.status == 200
        event = json.loads(in_stream.readline())
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert served.open("GET", "/api/v1/pods").status == 200
