"""200 people look at the page of a sweep of 10,000 runs while 8 of its runs report: how late they hear of it, what one
more reader feels, what memory it takes. `make bench-hub`, or `pytest tests/bench/bench_hub_viewers.py -s -o
python_files='bench_*.py'`.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
import time
from pathlib import Path

from tests.bench import hub_store
from tests.bench.hub_report import Report, What, spread
from tests.bench.hub_served import API, Client, memory, served, timed
from tests.bench.ingest_load import LINES, METRICS, Target, load

VIEWERS = 200
SECONDS = 10.0
PACE = 0.2
"""Seconds between two POSTs of a run: with 8 runs, 4,000 points a second, as 200 runs that report every 5 s."""


class Viewers(threading.Thread):
    """Open event streams; notes when each had an event."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.heard: list[list[float]] = [[] for _ in range(VIEWERS)]
        self.stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        request = (
            f"GET /n/{hub_store.NAMESPACE}/events?sweep={hub_store.SWEEP} HTTP/1.1\r\nHost: hub\r\n"
            "Authorization: Bearer reader\r\n\r\n"
        )
        for number in range(VIEWERS):
            stream = socket.create_connection(("127.0.0.1", port), timeout=30)
            stream.sendall(request.encode())
            self._selector.register(stream, selectors.EVENT_READ, number)

    def run(self) -> None:
        while not self.stopping.is_set():
            for key, _ in self._selector.select(timeout=0.1):
                stream = key.fileobj
                assert isinstance(stream, socket.socket)
                received = stream.recv(4096)
                assert received, "a stream ended"
                if b"event: changed" in received:
                    self.heard[key.data].append(time.monotonic())
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()


def test_two_hundred_viewers(ten_thousand_runs: Path, tmp_path: Path, report: Report) -> None:
    with served(ten_thousand_runs, tmp_path) as hub:
        viewers = Viewers(hub.port)
        viewers.start()
        asked: list[float] = []

        def ask() -> None:
            client = Client(hub.port)

            def board(_number: int) -> tuple[int, bytes]:
                time.sleep(0.05)
                return client.get(f"{API}/leaderboard")

            asked.extend(one - 50 for one in timed(board, count=int(SECONDS * 8)))

        reader = threading.Thread(target=ask)
        runs = [f"live-{number}" for number in range(hub_store.LIVE)]
        target = Target(hub.port, hub.pid)
        seq, _ = load(target, 1, seconds=2, runs=runs, pace=PACE)
        begun = time.monotonic()
        reader.start()
        _, measured = load(target, seq, seconds=SECONDS, runs=runs, pace=PACE)
        ended = time.monotonic()
        resident = memory(hub.pid), memory(hub.pid, "VmHWM")
        reader.join()
        viewers.stopping.set()
        viewers.join()
    gaps: list[float] = []
    for heard in viewers.heard:
        inside = [at for at in heard if begun <= at <= ended]
        assert inside, "a viewer heard nothing"
        gaps += [(after - before) * 1000 for before, after in itertools.pairwise(inside)]
    report.add(What.VIEWERS, f"{spread(gaps)}, at most {max(gaps) / 1000:.2f} s")
    report.add(What.VIEWERS_BOARD, f"{spread(asked)}; reports meanwhile p99 {measured.p99_ms:.0f} ms")
    report.add(What.VIEWERS_MEMORY, f"{resident[0]:.0f} MB, at most {resident[1]:.0f} MB")
    report.note(
        f"{VIEWERS} viewers: open event streams of the sweep's page; 8 runs of the sweep post {LINES * METRICS} points "
        f"each {PACE} s. An event says all that came before it, so a report is seen at the latest after the time "
        "between two events. Streams, reports and reader run on the same CPUs."
    )
