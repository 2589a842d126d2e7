"""What a disk and a team may hold of files under way: asked again while they come, not only before."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.uploads import ROOM_BYTES
from registry.settings import KeyMode
from registry.storage import artifacts
from registry.tables import Scope
from registry.uploads import LARGEST_OPEN, MAX_OPEN
from tests.api.callers import bearer, make_key
from tests.api.conftest import Api
from tests.api.test_models import METADATA
from tests.api.test_resumable import PIECE, begin
from tests.api.test_uploads import META, part
from tests.api.world import World

MEBIBYTE = 2**20
DISK = ROOM_BYTES + 4 * MEBIBYTE
FORM = {"Content-Type": "multipart/form-data; boundary=X"}


@pytest.fixture
def small_disk(start: Callable[..., Api], world: World, monkeypatch: pytest.MonkeyPatch) -> Api:
    """An app whose disk has room for 20 MiB, of which 1 MiB must stay free."""

    def free(folder: Path) -> int:
        return DISK - sum(path.stat().st_size for path in folder.rglob("*"))

    monkeypatch.setattr(artifacts, "free_bytes", free)
    monkeypatch.setattr("registry.storage.disk.free_bytes", free)
    return start(max_upload_bytes=10**9, min_free_bytes=MEBIBYTE)


def flood(start: bytes = b"") -> Iterator[bytes]:
    """A body of 128 MiB that does not say how long it is."""
    yield start
    for _ in range(128):
        yield b"\0" * MEBIBYTE


def test_a_form_that_does_not_say_its_length_stops_where_the_disk_does(small_disk: Api, tmp_path: Path) -> None:
    head = META + part("checkpoint", b"", "a.safetensors").removesuffix(b"\r\n")
    answer = small_disk.post("/models", content=flood(head), headers=FORM)
    assert (answer.status_code, "SAT_MIN_FREE_BYTES" in answer.json()["detail"]) == (507, True)
    assert not list((tmp_path / "artifacts" / "spool").iterdir())


def test_pieces_stop_where_the_disk_does(small_disk: Api) -> None:
    # several uploads that the disk could hold one by one
    paths = [begin(small_disk, DISK - 2 * MEBIBYTE) for _ in range(3)]
    statuses = [
        small_disk.patch(path, content=b"\0" * (DISK - 2 * MEBIBYTE), headers=PIECE | {"Upload-Offset": "0"})
        for path in paths
    ]
    assert [answer.status_code for answer in statuses] == [200, 507, 507]
    assert small_disk.get(paths[1]).json()["offset"] < 2 * MEBIBYTE


def test_a_file_of_the_operator_s_stops_where_the_disk_does(
    small_disk: Api, start: Callable[..., Api], tmp_path: Path
) -> None:
    (tmp_path / "zoo").mkdir()
    with (tmp_path / "zoo" / "large.safetensors").open("wb") as file:
        file.truncate(128 * MEBIBYTE)
    api = start(max_upload_bytes=10**9, min_free_bytes=MEBIBYTE, sources={"zoo": tmp_path / "zoo"})
    answer = api.post("/models", json=METADATA | {"source": "zoo/large.safetensors"})
    assert answer.status_code == 507, answer.text


def test_a_team_has_few_uploads_under_way_and_another_team_its_own(start: Callable[..., Api], world: World) -> None:
    api = start(keys=KeyMode.REQUIRED, max_upload_bytes=1000)
    one, other = (bearer(make_key(world.sessions, team, Scope.WRITE, team=team)) for team in ("one", "other"))
    large = [api.post("/uploads", json={"bytes": 1000}, headers=one) for _ in range(LARGEST_OPEN)]
    assert {answer.status_code for answer in large} == {201}
    refused = api.post("/uploads", json={"bytes": 1}, headers=one)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "give some up" in refused.json()["detail"]
    assert api.post("/uploads", json={"bytes": 1}, headers=other).status_code == 201
    assert api.delete(large[0].headers["location"], headers=one).status_code == 204
    small = [api.post("/uploads", json={"bytes": 1}, headers=one).status_code for _ in range(MAX_OPEN)]
    assert small == [201] * (MAX_OPEN - LARGEST_OPEN + 1) + [429] * (LARGEST_OPEN - 1)


def test_more_than_was_declared_names_what_was_declared(api: Api, world: World) -> None:
    path = begin(api, 4)
    answer = api.patch(path, content=b"abcde", headers=PIECE | {"Upload-Offset": "0"})
    assert answer.status_code == 413
    assert "begun for a file of 4 bytes" in answer.json()["detail"]
    assert "SAT_MAX_UPLOAD_BYTES" not in answer.json()["detail"]
