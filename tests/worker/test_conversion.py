"""A PyTorch checkpoint is converted where a stranger's code would gain nothing; what is no checkpoint is a sentence."""

import argparse
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from registry.declarations import ModelDeclaration
from registry.errors import StorageFullError
from registry.storage.artifacts import ArtifactStore, StoreLimits
from registry.tables import ModelState
from sat_engine.errors import CheckpointError
from sat_engine.io.formats import CheckpointFormat, format_of
from sat_engine.io.weights import read_weights
from worker.conversion import confinement, converter
from worker.conversion.converter import convert, read_report
from worker.tasks.prepare import _converted


class Command:
    """What runs a shell when it is unpickled."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.text,)


def saved(path: Path, value: object, *, as_zip: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=as_zip)
    return path


def never() -> None:
    """Nothing asks this conversion to end."""


STATE = OrderedDict(
    {"a.weight": torch.randn(3, 2), "a.half": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(7)}
)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_a_training_script_s_checkpoint_comes_out_tensor_for_tensor(tmp_path: Path, as_zip: bool) -> None:  # noqa: FBT001  a parameter of the test
    value = {"state_dict": STATE, "epoch": 3, "args": argparse.Namespace(lr=0.1), "optimizer": {"m": torch.zeros(9)}}
    path = saved(tmp_path / "a.pth", value, as_zip=as_zip)
    assert format_of(path) is CheckpointFormat.PYTORCH
    found = read_weights(convert(path, tmp_path, never))
    assert set(found) == {f"state_dict.{name}" for name in STATE}
    for name, tensor in STATE.items():
        torch.testing.assert_close(found[f"state_dict.{name}"], tensor, rtol=0, atol=0)


def test_code_in_a_pickle_is_not_run_and_the_reason_names_it(tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    path = saved(tmp_path / "a.pth", STATE | {"x": Command(f"touch {witness}")})
    with pytest.raises(CheckpointError, match=r"object of posix.system.*state_dict\(\)"):
        convert(path, tmp_path, never)
    assert not witness.exists()
    pickle.loads(pickle.dumps(Command(f"touch {witness}")))
    assert witness.exists(), "the same pickle does run where nobody prevents it"


def test_a_view_that_unfolds_to_terabytes_is_refused_before_it_is_written(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"a": torch.zeros(1).expand(10**6, 10**6)})
    with pytest.raises(CheckpointError, match="unfold to 4000000000000 bytes"):
        convert(path, tmp_path, never)


def test_a_conversion_ends_when_its_worker_must(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", STATE)
    with pytest.raises(KeyboardInterrupt):
        convert(path, tmp_path, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert not children()


def children() -> list[str]:
    return subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    ).stdout.count("worker.conversion") * ["conversion"]


ESCAPES = """
import json, os, resource, socket, sys
sys.path.append(sys.argv[1])
from worker.conversion.confinement import give_up_the_rest, leave_network
parent = os.getppid()
missing = leave_network()
names = [name for _, name in socket.if_nameindex()]
missing += give_up_the_rest(memory_bytes=2**30, file_bytes=2**20, cpu_seconds=60)
tries = {
    "read a file": lambda: open("/etc/passwd"),
    "read itself": lambda: open("/proc/self/environ"),
    "connect": socket.socket,
    "start a program": lambda: os.execv("/bin/true", ["true"]),
    "fork": os.fork,
    "signal its parent": lambda: os.kill(parent, 0),
    "remove a file": lambda: os.unlink(sys.argv[2]),
    "raise its limits": lambda: resource.setrlimit(7, (100, 100)),
    "take much memory": lambda: bytearray(2**33),
}
done = []
for what, attempt in tries.items():
    try:
        attempt()
    except (OSError, MemoryError, ValueError):
        continue
    done.append(what)
os.write(1, json.dumps({"done": done, "missing": missing, "network": names, "uid": os.getuid()}).encode())
os._exit(0)
"""


def test_a_confined_process_can_do_nothing_to_the_machine(tmp_path: Path) -> None:
    root = Path(confinement.__file__).parents[2]
    target = tmp_path / "a file of the worker"
    target.write_text("kept")
    ran = subprocess.run(
        [sys.executable, "-I", "-c", ESCAPES, str(root), str(target)], capture_output=True, check=False, timeout=60
    )
    said = json.loads(ran.stdout or b"{}") or ran.stderr
    assert said["done"] == [], said
    assert target.exists()
    if os.geteuid() == 0 and not said["missing"]:
        assert said["uid"] == confinement.NOBODY_ELSE
        assert said["network"] in ([], ["lo"])


@pytest.mark.parametrize(
    "said",
    [b"", b"\xff", b"[" * 50_000, b"[]", b"{}", b'{"tensors": 0}', b'{"tensors": true}', b'{"tensors": "9"}', b"null"],
)
def test_a_report_without_a_result_is_a_failure(tmp_path: Path, said: bytes) -> None:
    path = tmp_path / "report"
    path.write_bytes(said)
    with pytest.raises(CheckpointError, match="ended without a result"):
        read_report(path, 0)


def test_a_report_is_shown_as_plain_bounded_text(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text(json.dumps({"refused": "\x1b[2J\n" + "x" * 10_000}))
    with pytest.raises(CheckpointError) as raised:
        read_report(path, 0)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1100


def test_a_worker_prepares_a_pth_file_and_fails_a_hostile_one(workshop, members, tmp_path: Path) -> None:
    member = members[0]
    state = read_weights(workshop.checkpoints[member.name])
    witness = tmp_path / "executed"
    files = {
        "good": saved(tmp_path / "good.pth", {"state_dict": {f"module.{name}": each for name, each in state.items()}}),
        "hostile": saved(tmp_path / "hostile.pth", dict(state) | {"x": Command(f"touch {witness}")}),
        "not-a-number": saved(
            tmp_path / "nan.pth",
            {name: each * float("nan") if each.is_floating_point() else each for name, each in state.items()},
        ),
    }
    for name, path in files.items():
        workshop.register_file(ModelDeclaration.model_validate(member.metadata() | {"name": name}), path)
    workshop.register(member, "as-safetensors")
    workshop.start_worker("light")
    started = time.monotonic()
    workshop.wait(lambda: all(model.state is not ModelState.RECEIVED for model in workshop.models()))
    good, hostile, not_a_number, plain = workshop.models()
    assert (good.state, good.network_id) == (ModelState.READY, plain.network_id), good.failure
    assert (hostile.state, not_a_number.state) == (ModelState.FAILED, ModelState.FAILED), time.monotonic() - started
    assert "posix.system" in (hostile.failure or "")
    assert "not finite" in (not_a_number.failure or "")
    assert not witness.exists()
    assert not list(workshop.store.spool.glob("conversion-*"))


def test_a_conversion_stops_where_the_disk_does(sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path / "a.pth", {"a": torch.zeros(1000)})
    store = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache", StoreLimits(min_free=1))
    context: Any = SimpleNamespace(store=store, sessions=sessions, settings=SimpleNamespace(conversion="warn"))
    lease: Any = SimpleNamespace(check=lambda: None)
    assert set(_converted(context, lease, source)) == {"a"}
    free = iter([2**30, 2**30])  # for the look before it begins: the store's, and that of its message
    for module in ("registry.storage.disk", "registry.storage.artifacts"):
        monkeypatch.setattr(f"{module}.free_bytes", lambda _: next(free, 0))
    with pytest.raises(StorageFullError):
        _converted(context, lease, source)
    assert not list(store.spool.iterdir())


# the converter as it is started, on a system that refuses it a network of its own
UNCONFINED = (
    "import sys; sys.path.append(sys.argv.pop(1)); from worker.conversion import program; "
    "program.leave_network = lambda: ['a network namespace (Operation not permitted)']; program.main()"
)


def test_a_strict_server_reads_no_pickle_without_its_whole_confinement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = saved(tmp_path / "a.pth", STATE)
    monkeypatch.setattr(converter, "_START", UNCONFINED)
    for folder in ("strict", "warn"):
        (tmp_path / folder).mkdir()
    with pytest.raises(CheckpointError, match=r"SAT_CONVERSION=strict.*a network namespace"):
        convert(source, tmp_path / "strict", never, strict=True)
    assert (tmp_path / "strict" / "converted.safetensors").stat().st_size == 0
    assert set(read_weights(convert(source, tmp_path / "warn", never))) == set(STATE)
    assert "a conversion ran without a network namespace" in caplog.text


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "linked"
    torch.save(STATE, target)
    for name in ("archive/data.pkl", "archive/data/0", "../../linked"):
        source = tmp_path / f"{name.replace('/', '-')}.pth"
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({}, 2)) if name != "archive/data.pkl" else None
            link = zipfile.ZipInfo(name)
            link.create_system, link.external_attr = 3, 0o120777 << 16
            archive.writestr(link, str(target))
        folder = tmp_path / f"of {source.name}"
        folder.mkdir()
        with pytest.raises(CheckpointError, match="could not be converted"):
            convert(source, folder, never)
        assert {path.name for path in folder.iterdir()} <= {"converted.safetensors", "report"}
    assert set(torch.load(target, weights_only=True)) == set(STATE)
