"""Many at once: clients that hold connections, bodies and forms open together, and bodies that unfold side by side."""

import contextlib
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

from tests.hostile.attempt import Answer, Outcome, ask
from tests.hostile.requests import METADATA
from tests.hostile.tensors import framed
from tests.live import Live

# What attacks may add to an idle api's memory, however many come at once.
MAX_GROWTH_MEBIBYTES = 150
HELD = 100  # connections of one crowd that are held open
REFUSED = {422, 413, 408, 503}
FINE = {0, 200, *REFUSED}  # of a crowd's: 0 still waits, and reads may be answered
FIVE_MEGABYTES = 5 * 2**20
STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
FORM = b"Content-Type: multipart/form-data; boundary=X\r\n"
JSON = b"Content-Type: application/json\r\n"
PART = b'--X\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'


def outcomes(live: Live) -> Iterator[Outcome]:
    """What became of each crowd: refused, or crashed where one client got another answer, or memory grew too much."""
    idle = live.memory_mebibytes("VmRSS")
    for name, statuses, memory in held(live):
        fine = set(statuses) <= FINE and memory - idle < MAX_GROWTH_MEBIBYTES
        said = f"{dict(Counter(statuses))}, {memory - idle:.0f} MB more than an idle api"
        yield Outcome(f"a crowd: {name}", "refused" if fine else "crashed", 0, said)
    for name, statuses in unfolding(live):
        grown = live.memory_mebibytes() - idle
        fine = set(statuses) <= REFUSED and 422 in statuses and grown < MAX_GROWTH_MEBIBYTES
        said = f"{dict(Counter(statuses))}, {grown:.0f} MB more than an idle api"
        yield Outcome(f"a crowd: {name}", "refused" if fine else "crashed", 0, said)


def held(live: Live) -> Iterator[tuple[str, list[int], float]]:
    """Crowds that send nearly all of a request and wait: name, the statuses they got, and the api's MB meanwhile."""
    four = 4 * 2**20 - 4096
    for name, head, body in (
        ("sign-ins without a key", _head(b"POST /session", four, key=False), b"x" * (four - 10)),
        ("little sign-ins without a key", _head(b"POST /session", 8000, key=False), b"x" * 7000),
        ("plans", _head(b"POST /plan", four, JSON), b"[" * (four - 10)),
        ("protocols", _head(b"POST /protocols", 2**20, JSON), b"[" * (2**20 - 10)),
        ("forms with long metadata", _head(b"POST /models", 2**24, FORM), PART + b"x" * (four - 10)),
        ("heads", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 60_000, b""),
        ("reads with bodies", _head(b"GET /healthz", FIVE_MEGABYTES, key=False), b"x" * 500_000),
        ("requests one after the other", b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 5000, b""),
    ):
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(_connection(live)) for _ in range(HELD)]
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(partial(_send, content=head.replace(b"@KEY@", live.key.encode()) + body), crowd))
            time.sleep(0.5)
            memory = live.memory_mebibytes("VmRSS")
            # the others are served meanwhile
            assert ask(live, "GET", "/healthz").status == 200, name
            yield name, [_status(each) for each in crowd], memory


def unfolding(live: Live) -> Iterator[tuple[str, list[int]]]:
    """Bodies that become much more than they are, from many clients at once: name, the statuses they got."""
    unknown = b"{%s}" % b",".join(b'"%x":1' % index for index in range(380_000))
    openings = b'{"models": [%s{}]}' % (b"{}," * 1_300_000)
    texts = b'{"name": "a", "architecture": "b", "tags": [%s1]}' % (b"1," * 2_000_000)
    header = framed(b'{"__metadata__":[%s{}]}' % (b"{}," * 600_000))
    send: dict[str, Callable[[], Answer]] = {
        "380,000 unknown fields in a plan": partial(_json, live, "/plan", unknown),
        "1,300,000 models in a plan": partial(_json, live, "/plan", openings),
        "2,000,000 tags": partial(_json, live, "/models", texts),
        "380,000 unknown fields in a form": partial(_form, live, unknown.decode(), b"x"),
        "headers of 600,000 objects": partial(_form, live, json.dumps(METADATA), header),
    }
    for name, one in send.items():
        with ThreadPoolExecutor(12) as pool:
            yield name, [answer.status for answer in pool.map(lambda _, one=one: one(), range(24))]


def _json(live: Live, path: str, text: bytes) -> Answer:
    return ask(live, "POST", path, content=text, headers={"Content-Type": "application/json"})


def _form(live: Live, metadata: str, content: bytes) -> Answer:
    return ask(live, "POST", "/models", data={"metadata": metadata}, files={"checkpoint": ("a", content)})


def _head(start: bytes, size: int, more: bytes = b"", *, key: bool = True) -> bytes:
    allowed = b"Authorization: Bearer @KEY@\r\n" if key else b""
    return b"%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%sContent-Length: %d\r\n\r\n" % (start, allowed, more, size)


def _connection(live: Live) -> socket.socket:
    address = urlsplit(live.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=5)


def _send(connection: socket.socket, content: bytes) -> None:
    with contextlib.suppress(OSError):  # it has refused before all was sent, or takes no more
        connection.sendall(content)


def _status(connection: socket.socket) -> int:
    """The status that came; 0 where the api still waits, or has only closed the connection."""
    connection.settimeout(0.05)
    try:
        found = STATUS.match(connection.recv(64))
    except OSError:
        return 0
    return int(found.group(1)) if found else 0
