"""HTTP over a Unix socket, as `kubectl proxy` serves it: answers, lines that go on, and everything that breaks."""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orkhaven.client.wire import SocketConnection, Wire, WireError, segment


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/lines":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in (b"one\ntw", b"o\n"):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.flush()
                self.server.go_on.wait(10)  # type: ignore[attr-defined]
                self.wfile.write(b"0\r\n\r\n")
            case "/broken":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"not all of it")
                self.close_connection = True
            case "/silent":
                self.server.go_on.wait(10)  # type: ignore[attr-defined]
            case _:
                self._echo()

    def do_PATCH(self) -> None:
        self._echo()

    def _echo(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        told = {"path": self.path, "sent": sent, "accept": self.headers["Accept"], "who": self.headers["Authorization"]}
        body = json.dumps(told).encode()
        self.send_response(409 if "refuse" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def get_request(self) -> tuple[object, tuple[str, int]]:  # type: ignore[override]
        return super().get_request()[0], ("here", 0)


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    path = f"{tmp_path}/api"
    server = Server(path, Handler)
    server.go_on = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield path
    server.go_on.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


def wire(socket: str) -> Wire:
    return Wire(lambda timeout: SocketConnection(socket, timeout), headers=lambda: {"Authorization": "Bearer mine"})


def test_a_request_has_its_query_its_body_and_everybody_s_headers(socket: str) -> None:
    answer = wire(socket).request(
        "PATCH", "/a", params={"labelSelector": "a=b&c"}, content=b"{}", headers={"Accept": "x/y"}, timeout=5
    )
    assert answer.status_code == 200
    assert answer.json() == {"path": "/a?labelSelector=a%3Db%26c", "sent": "{}", "accept": "x/y", "who": "Bearer mine"}
    assert wire(socket).request("GET", "/refuse", timeout=5).status_code == 409


def test_lines_are_there_before_the_answer_has_ended(socket: str) -> None:
    with wire(socket).stream("GET", "/lines", params=None, timeout=5) as answer:
        parts = answer.iter_bytes()
        assert next(parts) + next(parts) == b"one\ntwo\n"


@pytest.mark.parametrize("path", ["/broken", "/silent"])
def test_what_breaks_or_says_nothing_is_one_error(socket: str, path: str) -> None:
    with pytest.raises(WireError):
        wire(socket).request("GET", path, timeout=0.3)
    with pytest.raises(WireError), contextlib.suppress(StopIteration):
        wire(f"{socket}-none").request("GET", "/", timeout=1)


def test_a_name_cannot_leave_its_place_in_a_path() -> None:
    assert segment("../a/b?c#d") == "..%2Fa%2Fb%3Fc%23d"
