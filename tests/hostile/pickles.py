"""PyTorch files that no training script writes: code, bombs, forged archives, nonsense. Each names its purpose."""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
STATE = {"head.weight": torch.ones(2, 4), "head.bias": torch.zeros(2)}


class Call:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def zipped(data: bytes, *, name: str = "archive", compression: int = zipfile.ZIP_STORED, **others: bytes) -> bytes:
    """An archive as torch.save writes it, around any pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(f"{name}/data.pkl", data)
        archive.writestr(f"{name}/byteorder", b"little")
        archive.writestr(f"{name}/version", b"3\n")
        for other, content in others.items():
            archive.writestr(f"{name}/{other}", content)
    return file.getvalue()


def legacy(*pickles: bytes) -> bytes:
    """The file of before 1.6: number, version, system, then what is given."""
    system = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    return b"".join([pickle.dumps(each, protocol=2) for each in (MAGIC, VERSION, system)]) + b"".join(pickles)


def saved(value: object, *, as_zip: bool = True) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=as_zip)
    return file.getvalue()


def code(witness: Path) -> Iterator[tuple[str, bytes]]:
    """Pickles that would make the file `witness`, by every road known."""
    import builtins
    import os
    import runpy
    import subprocess

    command, statement = f"touch {witness}", f"open({str(witness)!r}, 'w')"
    calls = {
        "os.system": Call(os.system, command),
        "subprocess.call": Call(subprocess.call, ["touch", str(witness)]),
        "eval": Call(builtins.eval, statement),
        "exec": Call(builtins.exec, statement),
        "open": Call(builtins.open, str(witness), "w"),
        "getattr": Call(builtins.getattr, Call(__import__, "os"), "system"),
        "runpy": Call(runpy.run_path, "/proc/self/cmdline"),
        "torch.load again": Call(torch.load, str(witness)),
        "torch.hub": Call(torch.hub.load, "a/b", "c"),
        "a network": torch.nn.Linear(2, 2),
    }
    for name, call in calls.items():
        for as_zip in (True, False):
            yield f"{name} in {'zip' if as_zip else 'legacy'}", saved({**STATE, "x": call}, as_zip=as_zip)
    deep: object = calls["os.system"]
    for _ in range(50):
        deep = [deep, {"x": (deep,)}][:1]
    yield "code under fifty lists", saved({**STATE, "x": deep})
    yield "code as a key", saved({"a": {1: calls["eval"]}})
    run = f"cos\nsystem\n(V{command}\ntR.".encode()
    yield "protocol 0", zipped(run)
    yield "GLOBAL by another name", zipped(f"cposix\nsystem\n(V{command}\ntR.".encode())
    yield "INST", zipped(f"(V{command}\nios\nsystem\n.".encode())
    yield "OBJ", zipped(f"(cos\nsystem\nV{command}\no.".encode())
    yield "STACK_GLOBAL", zipped(pickle.dumps(calls["os.system"], protocol=4))
    yield "a name with dots", zipped(b"\x80\x04\x8c\x05torch\x8c\x13serialization.os.sys\x93.")
    yield "EXT", zipped(b"\x80\x02\x82\x01.")
    build = pickle.dumps(__import__("argparse").Namespace(a=1), protocol=2)
    yield "BUILD over a class", zipped(build.replace(b"a", b"__class__", 1) if b"__class__" in build else build + run)
    yield "code before the magic number", run + legacy(pickle.dumps({}, 2))
    yield "code after the tensors", legacy(pickle.dumps({}, 2), run)
    yield "two pickles in one entry", zipped(pickle.dumps({}, 2) + run)
    yield "TorchScript", _scripted()


def bombs() -> Iterator[tuple[str, bytes]]:
    """Little files that unfold."""
    yield (
        "a gigabyte of zeros, compressed",
        zipped(pickle.dumps(STATE, 2), compression=zipfile.ZIP_DEFLATED, **{"data/0": b"\0" * 2**28}),
    )
    yield "a compressed pickle", zipped(b"(" * 2**24 + b".", compression=zipfile.ZIP_DEFLATED)
    yield "a view of terabytes", saved({"a": torch.zeros(1).expand(10**6, 10**6)})
    yield "many names for one tensor", saved(dict.fromkeys([f"a{i}" for i in range(20_000)], torch.zeros(5000)))
    laughs = b"\x80\x02]q\x00" + b"".join(b"](h%ch%ce" % (i, i) + b"q%c" % (i + 1) for i in range(60)) + b"."
    yield "a billion laughs", zipped(laughs)
    yield "a number of 2 GB", zipped(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\1.")
    yield "a text of 2^60 bytes", zipped(b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"a.")
    yield "marks without end", zipped(b"\x80\x02" + b"(" * 10**6 + b".")
    yield "tuples without end", zipped(b"\x80\x02)" + b"\x85" * 10**6 + b".")
    yield "dictionaries a thousand deep", saved(_nested(300))
    entries = io.BytesIO()
    with zipfile.ZipFile(entries, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        for index in range(70_000):
            archive.writestr(f"a/data/{index}", b"")
        for index in range(70_000):
            archive.writestr(f"a/more/{index}", b"")
    yield "140,000 entries", entries.getvalue()


def forged() -> Iterator[tuple[str, bytes]]:
    """Archives whose directory lies, storages that are not there, files cut short."""
    good, old = saved(STATE), saved(STATE, as_zip=False)
    for name, content in (("zip", good), ("legacy", old)):
        for share in (0.1, 0.5, 0.9):
            yield f"the first {share:.0%} of a {name}", content[: int(len(content) * share)]
        yield f"a {name} without its last byte", content[:-1]
    end = good.rfind(b"PK\x05\x06")
    for what, offset, value in (("size", 12, 2**32 - 2), ("offset", 16, 2**32 - 2), ("offset", 16, 0)):
        patched = bytearray(good)
        patched[end + offset : end + offset + 4] = struct.pack("<I", value)
        yield f"a directory with {what} {value}", bytes(patched)
    central = good.find(b"PK\x01\x02")
    for what, offset in (("compressed size", 20), ("size", 24), ("header offset", 42)):
        patched = bytearray(good)
        patched[central + offset : central + offset + 4] = struct.pack("<I", 2**32 - 2)
        yield f"an entry with {what} of 4 GB", bytes(patched)
    yield "an entry above the archive", zipped(pickle.dumps({}, 2), **{"../../../../tmp/sat-escaped": b"x"})
    yield "a symbolic link", _linked()
    yield "no storage behind the tensor", _without_storage(good)
    yield "a forged byte order", _with_entry(good, "byteorder", b"sideways")
    yield "nothing but the magic number", pickle.dumps(MAGIC, 2)
    yield "an empty dictionary", saved({})
    yield "no tensor", saved({"epoch": 3, "name": "a"})
    yield "a list of tensors", saved([torch.ones(2)])
    yield "sparse weights", saved({"a": torch.eye(3).to_sparse()})
    yield "complex weights", saved({"a": torch.ones(3, dtype=torch.complex64)})
    yield "weights without memory", saved({"a": torch.ones(3, device="meta")})
    yield "names with control characters", saved({"a\n\x1b[2J": torch.ones(1)})
    yield "a name of a megabyte", saved({"a" * 2**20: torch.ones(1)})
    yield "NaN", saved({name: tensor * float("nan") for name, tensor in STATE.items()})
    yield "infinite weights", saved({name: tensor / 0 for name, tensor in STATE.items()})
    yield "another network's weights", saved(STATE)


def _nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {"x": torch.ones(1)}
    for _ in range(depth):
        value = {"x": value}
    return value


def _scripted() -> bytes:
    return zipped(pickle.dumps({}, 2), **{"constants.pkl": pickle.dumps((), 2), "code/__torch__.py": b"import os"})


def _linked() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("a/data.pkl")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, b"/etc/passwd")
    return file.getvalue()


def _without_storage(good: bytes) -> bytes:
    return _copied(good, lambda name, content: None if "/data/" in name else content)


def _with_entry(good: bytes, entry: str, replaced: bytes) -> bytes:
    return _copied(good, lambda name, content: replaced if name.endswith(entry) else content)


def _copied(good: bytes, change: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            content = change(name, source.read(name))
            if content is not None:
                target.writestr(name, content)
    return file.getvalue()
