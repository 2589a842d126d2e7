"""Requests that no program sends by mistake: names, metadata, forms, and what is hardly HTTP."""

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
from safetensors.numpy import save

from tests.hostile import tensors
from tests.hostile.attempt import Answer, Attempt, ask, send_raw
from tests.live import Live

METADATA = {
    "name": "hostile",
    "architecture": "test_resnet",
    "model_args": {"num_classes": 2, "in_chans": 1},
    "input": {"size": 32, "channels": 1, "mean": [0.5], "std": [0.25]},
    "classes": ["no", "yes"],
}
GOOD = save({"head.weight": np.ones((2, 4), np.float32)})
NAMES = (
    "../../etc/passwd", "..\\..\\windows\\win.ini", "%2e%2e%2fetc%2fpasswd", "%252e%252e%252fetc", "..%c0%afetc",
    "/etc/passwd", "C:\\x", ".", "..", ".hidden", "-rf", "a b", "a/b", "a\\b", "a\n", "a\r\nX: y", "a\0b", "\0",
    "\u202egpj.exe", "naïve", "名前", "\U0001f600", "\u210c\U0001d52c\U0001d530\U0001d531", "a" * 129, "a" * 10_000, "",
    " ", "'; drop table models; --",
    "<script>alert(1)</script>", "${jndi:ldap://x}", "{{7*7}}", "a\u0301", "\ud800", "@", "@xyz", "con:", "a;b",
    "a|b",
)  # fmt: skip
BOUNDARY = b"X-BOUNDARY"


def names() -> Iterator[Attempt]:
    """Hostile names where one is given, and where one is asked for."""
    for name in NAMES:
        yield Attempt(f"registering {name!r:.40}", partial(_register, change={"name": name}))
        protocol = json.dumps({"name": name})
        yield Attempt(f"a protocol {name!r:.40}", partial(_post_json, path="/protocols", text=protocol))
        alias = {"model": "resnet-a", "alias": name}
        yield Attempt(f"a superseded {name!r:.40}", partial(_register, change={"supersedes": name} if name else alias))
    for path in (
        "/models/..%2f..%2fetc%2fpasswd", "/models/%2e%2e/%2e%2e/etc", "/models/..%5c..%5cetc", "/models/%00",
        "/models/%252e%252e%252f", "/models/a%0d%0aX:%20y", "/models/" + "a" * 10_000, "/models/%ff%fe", "/models/@",
        "/models/@..", "/models/../../etc/passwd", "/models//", "/models/resnet-a/../../x", "/static/..%2f..%2fapp.py",
        "/static/%2e%2e/%2e%2e/etc/passwd", "/static/../app.py", "/static/..%5capp.py", "/similar/%00", "/pairs/a/%00",
        "/models/resnet-a/checkpoint/../../../etc/passwd", "/image-sets/..%2f..%2fetc/content", "//etc/passwd",
        "/models?cursor=" + "A" * 20_000, "/models?limit=999999999999999999999", "/models?limit=-1", "/models?sort=x",
        "/models?cursor=%00", "/jobs?cursor=OTIyMzM3MjAzNjg1NDc3NTgwOA", "/matrix?format=%2e%2e", "/models?state=%00",
        "/similar/resnet-a?k=1e9", "/recommend/ensemble?n=99999", "/recommend/ensemble?max_gmacs=nan", "/clusters?k=-1",
        "/recommend/ensemble?include=" + ",".join(["nobody"] * 5000), "/agreement?comparisons=" + "," * 5000,
        "/clusters?wait=1e300", "/similar/resnet-a?image_set=..%2f..%2fx", "/models?tag=a&limit=0",
    ):  # fmt: skip
        yield Attempt(f"GET {path:.60}", partial(send_raw, content=_request(b"GET", path.encode())))
    for method in (b"PUT", b"TRACE", b"CONNECT", b"PROPFIND", b"SEARCH"):
        yield Attempt(f"{method!r:.20} /models", partial(send_raw, content=_request(method, b"/models")))


def metadata() -> Iterator[Attempt]:
    """Metadata that would fill memory, break a parser or a column, or build something absurd."""
    texts = {
        "lists 100,000 deep": "[" * 100_000,
        "objects 50,000 deep": '{"a":' * 50_000 + "1" + "}" * 50_000,
        "5,000 digits": json.dumps(METADATA)[:-1] + f', "expected_accuracy": {"9" * 5000}}}',
        "NaN": json.dumps(METADATA | {"expected_accuracy": float("nan")}),
        "Infinity": json.dumps(METADATA | {"expected_accuracy": float("inf")}),
        "1e999": json.dumps(METADATA)[:-1] + ', "expected_accuracy": 1e999}',
        "half a surrogate": json.dumps(METADATA | {"description": "\ud800"}),
        "no JSON": "name=hostile",
        "nothing": "",
        "a list": "[]",
        "null": "null",
        "a number": "7",
        "a list of a million": "[" + "1," * 10**6 + "1]",
        "four megabytes": json.dumps(METADATA | {"description": "a" * (4 * 2**20)}),
        "3.9 megabytes": json.dumps(METADATA | {"description": "a" * int(3.9 * 2**20)}),
        "laughs": json.dumps(METADATA | {"tags": [["lol"] * 1000] * 100}),
        "an entity": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        "YAML": "a: &a [x, x]\nb: [*a, *a]",
    }
    for name, text in texts.items():
        yield Attempt(f"metadata: {name}", partial(_register_text, text=text))
        yield Attempt(f"JSON: {name}", partial(_post_json, path="/models", text=text))
    for field, values in _absurd().items():
        for value in values:
            yield Attempt(f"{field} = {value!r:.40}", partial(_register, change={field: value}))
    for value in ("1e999999999", "9" * 5000, "1/0", "1e-99999", 10**400, True, "0x10", "1_0", "½"):
        body = json.dumps({"name": "hostile", "epsilon": value})
        yield Attempt(f"epsilon = {value!r:.30}", partial(_post_json, path="/protocols", text=body))


def _absurd() -> dict[str, list[object]]:
    return {
        "architecture": ["hf-hub:timm/resnet18", "local-dir:/etc", "../../x", "os.system", "a\0", "a" * 10_000, "", 7],
        "model_args": [
            {"num_classes": 2**31}, {"img_size": 10**30}, {"patch_size": [10**400]}, {"drop_rate": 1e308}, {"a": {}},
            {"checkpoint_path": "/etc/passwd"}, {"pretrained": True}, {"\0": 1}, {str(i): 1 for i in range(1000)},
            {"num_classes": -1}, {"cache_dir": "/tmp"}, {"pretrained_cfg": "x"}, {"global_pool": "\0"}, [],
        ],
        "input": [
            {"size": 10**9, "channels": 1, "mean": [0.5], "std": [0.5]},
            {"size": 32, "channels": 1, "mean": [1e308], "std": [0.5]},
            {"size": 32, "channels": 1, "mean": [0.5], "std": [0]},
            {"size": 32, "channels": 1, "mean": [0.5] * 10_000, "std": [0.5]},
            {"size": -1, "channels": 1, "mean": [0.5], "std": [0.5]},
            {"size": 32, "channels": 2, "mean": [0.5, 0.5], "std": [0.5, 0.5]},
            {"size": True, "channels": 1, "mean": [0.5], "std": [0.5]},
        ],
        "classes": [["a"], ["a", "a"], [f"c{i}" for i in range(200_000)], ["a" * 10_000, "b"], ["\0", "b"], {}, "ab"],
        "tags": [["a"] * 65, ["a" * 10_000], ["\0"], [[]], "a", [None]],
        "description": ["\0", 7, [], "a" * 20_001],
        "license": ["\0", "a" * 10_000, 7],
        "weights": ["pickle", "\0", 7],
        "expected_accuracy": [-1, 2, 1e308, "x", True],
        "source": [
            "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x", "a\\..\\b", "\0", "%2e%2e/x",
        ],
        "pretrained": ["a\0", "x" * 10_000, "../x"],
        "unknown": [1, "__class__", {"a": 1}],
        "__class__": ["x"],
        "__proto__": [{"a": 1}],
    }  # fmt: skip


def forms() -> Iterator[Attempt]:
    """Multipart bodies that break a parser or fill memory."""
    meta, file = _part(b"metadata", json.dumps(METADATA).encode()), _part(b"checkpoint", GOOD, b"a.safetensors")
    end = b"--" + BOUNDARY + b"--\r\n"
    bodies = {
        "5,000 parts": b"".join(_part(b"p%d" % index, b"x") for index in range(5000)) + end,
        "5,000 parts of one name": _part(b"metadata", b"x") * 5000 + end,
        "metadata twice": meta + meta + file + end,
        "two files": meta + file + file + end,
        "a foreign field": meta + file + _part(b"extra", b"x") + end,
        "no metadata": file + end,
        "no file": meta + end,
        "an empty file": meta + _part(b"checkpoint", b"", b"a") + end,
        "no end": meta + file,
        "cut within the file": (meta + file)[:-30],
        "nothing": b"",
        "only the end": end,
        "no form": b"hello" * 1000,
        "a header of a megabyte": b"--" + BOUNDARY + b"\r\nX: " + b"a" * 2**20 + b"\r\n\r\n" + end,
        "a header name of a megabyte": b"--" + BOUNDARY + b"\r\n" + b"a" * 2**20 + b": x\r\n\r\n" + end,
        "10,000 headers": b"--" + BOUNDARY + b"\r\n" + b"X: y\r\n" * 10_000 + b"\r\nx\r\n" + end,
        "a part without a name": b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + end,
        "a name of 100 kB": _part(b"n" * 100_000, b"x") + end,
        "a name with NUL": _part(b"meta\0data", b"x") + end,
        "a form within the form": meta + _part(b"checkpoint", meta + file + end, b"a") + end,
        "another line ending": (meta + file + end).replace(b"\r\n", b"\n"),
    }
    for name, body in bodies.items():
        yield Attempt(f"form: {name}", partial(_form, body=body))
    whole = meta + file + end
    for content_type in (
        b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"b" * 50_000,
        b"multipart/mixed; boundary=X-BOUNDARY", b"text/plain", b"", b"multipart/form-data; boundary=\xff\xfe",
        b"application/x-www-form-urlencoded", b"application/json; charset=utf-16", b"multipart/form-data; boundary=Y",
        b"multipart/form-data;" + b"a=b;" * 5000, b"application/zip", b"application/x-python-pickle",
    ):  # fmt: skip
        yield Attempt(f"content type {content_type[:50]!r}", partial(_form, body=whole, content_type=content_type))


def protocol() -> Iterator[Attempt]:
    """What is hardly HTTP; a closed connection or a plain 400 is answer enough."""
    host = b"Host: 127.0.0.1\r\nAuthorization: Bearer @KEY@\r\n"
    texts = {
        "noise": b"\x16\x03\x01\x02\x00" + b"\xff" * 500 + b"\r\n\r\n",
        "a header of 50 MB": b"GET /models HTTP/1.1\r\n" + host + b"X: " + b"a" * 50_000_000 + b"\r\n\r\n",
        "5,000 headers": b"GET /x HTTP/1.1\r\n" + host + b"X: y\r\n" * 5000 + b"\r\n",
        "an address of 50 MB": b"GET /" + b"a" * 50_000_000 + b" HTTP/1.1\r\n" + host + b"\r\n",
        "a negative length": b"POST /models HTTP/1.1\r\n" + host + b"Content-Length: -1\r\n\r\n",
        "a length that is no number": b"POST /models HTTP/1.1\r\n" + host + b"Content-Length: 1e9\r\n\r\n",
        "two lengths": b"POST /models HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "length and chunks": b"POST /x HTTP/1.1\r\n" + host
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /models HTTP/1.1\r\n\r\n",
        "a chunk without end": b"POST /models HTTP/1.1\r\n" + host
        + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "another version": b"GET /x HTTP/9.9\r\n" + host + b"\r\n",
        "a folded header": b"GET /x HTTP/1.1\r\n" + host + b"X: a\r\n b\r\n\r\n",
        "NUL in a header": b"GET /x HTTP/1.1\r\n" + host + b"X: a\0b\r\n\r\n",
        "a web socket": b"GET /nowhere HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    }  # fmt: skip
    for name, text in texts.items():
        yield Attempt(f"HTTP: {name}", partial(send_raw, content=text), http=False)
    for path, size in ((b"/models", 10**12), (b"/protocols", 10**12), (b"/protocols", 5 * 2**20)):
        head = _request(
            b"POST", path, b"Content-Type: multipart/form-data; boundary=X\r\nContent-Length: %d\r\n" % size
        )
        yield Attempt(f"{size} bytes for {path.decode()}", partial(send_raw, content=head))


def slow() -> Iterator[Attempt]:
    """Bodies that stop coming; the api was told to wait for two seconds."""
    form = b"Content-Type: multipart/form-data; boundary=X-BOUNDARY\r\nContent-Length: 100000\r\n"
    for name, path, headers, start in (
        ("a body that never begins", b"/protocols", b"Content-Length: 100\r\n", b""),
        ("half a body", b"/protocols", b"Content-Length: 100\r\n", b'{"name": "a"'),
        ("half a form", b"/models", form, _part(b"metadata", b"{}")[:-5]),
        ("a form that never begins", b"/models", form, b""),
        (
            "half a chunk",
            b"/models",
            form.replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked"),
            b"ff\r\na",
        ),
    ):
        yield Attempt(f"slow: {name}", partial(send_raw, content=_request(b"POST", path, headers) + start))


def contents() -> Iterator[Attempt]:
    """Checkpoints and image sets whose bytes are refused at once."""
    for name, content in tensors.checkpoints():
        yield Attempt(f"safetensors: {name}", partial(_register, content=content))
    for name, content, change in tensors.image_sets():
        yield Attempt(f"image set: {name}", partial(_import, content=content, change=change))


def register(live: Live, name: str, content: bytes) -> Answer:
    """Register these bytes under this name."""
    return _register(live, change={"name": name}, content=content)


def _register(live: Live, *, change: dict[str, object] = {}, content: bytes = GOOD) -> Answer:  # noqa: B006  read only
    return _register_text(live, text=json.dumps(METADATA | change), content=content)


def _register_text(live: Live, *, text: str, content: bytes = GOOD) -> Answer:
    return ask(live, "POST", "/models", data={"metadata": text}, files={"checkpoint": ("../../a.pth", content)})


def _import(live: Live, *, content: bytes, change: dict[str, object]) -> Answer:
    declared = json.dumps({"name": "hostile", "classes": ["no", "yes"]} | change)
    return ask(live, "POST", "/image-sets", data={"metadata": declared}, files={"content": ("a", content)})


def _post_json(live: Live, *, path: str, text: str) -> Answer:
    return ask(live, "POST", path, content=text.encode(), headers={"Content-Type": "application/json"})


def _form(live: Live, *, body: bytes, content_type: bytes = b"multipart/form-data; boundary=X-BOUNDARY") -> Answer:
    headers = b"Content-Type: %s\r\nContent-Length: %d\r\n" % (content_type, len(body))
    return send_raw(live, _request(b"POST", b"/models", headers) + body)


def _request(method: bytes, path: bytes, headers: bytes = b"") -> bytes:
    return b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer @KEY@\r\n%s\r\n" % (method, path, headers)


def _part(name: bytes, content: bytes, filename: bytes | None = None) -> bytes:
    of_file = b'; filename="%s"' % filename if filename is not None else b""
    return b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (BOUNDARY, name, of_file, content)
