"""GET /matrix: every format holds the same, and is rendered once for all who ask."""

import gc
import io
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import numpy as np
import pytest
from arro3.io import read_parquet

from api.renderings import Rendered, Rendering, Renderings
from tests.api.conftest import Api
from tests.api.world import World


@pytest.fixture
def partly_measured(zoo: World) -> World:
    """The zoo with one more model, of which one direction and one pair are measured."""
    new = zoo.add_model("vit-new")
    zoo.transfer(new, zoo.networks["vit-a"])
    zoo.transfer(new, zoo.networks["vit-b"])
    zoo.transfer(zoo.networks["vit-b"], new)
    return zoo


def test_all_formats_hold_the_same(api: Api, partly_measured: World) -> None:
    whole = api.get("/matrix").json()
    names = whole["models"]
    sat = np.array([[np.nan if value is None else value for value in row] for row in whole["sat"]])
    assert {each for row in whole["obtained"] for each in row} == {None, "measured", "one-sided"}

    answer = api.get("/matrix?format=npz")
    assert 'filename="matrix.npz"' in answer.headers["content-disposition"]
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
        assert arrays["models"].tolist() == names
        assert (str(arrays["comparison"]), int(arrays["version"])) == (whole["comparison"], whole["version"])
        np.testing.assert_allclose(arrays["sat"], sat, atol=1e-6)
        codes = arrays["obtained_names"][arrays["obtained"]].tolist()
        assert codes == [[each or "missing" for each in row] for row in whole["obtained"]]
        np.testing.assert_array_equal(arrays["n"], arrays["n"].T)
        n, fooled = arrays["n"], arrays["fooled"]

    table = read_parquet(io.BytesIO(api.get("/matrix?format=parquet").content)).read_all()
    rows = list(zip(*(table[name].to_pylist() for name in table.schema.names), strict=True))
    place = {name: index for index, name in enumerate(names)}
    assert [(row[0], row[1]) for row in rows] == [(a, b) for i, a in enumerate(names) for b in names[i:]]
    for a, b, score, obtained, images, out, into, rung in rows:
        i, j = place[a], place[b]
        assert (score is None) == np.isnan(sat[i, j])
        assert score is None or score == pytest.approx(sat[i, j], abs=1e-6)
        assert obtained == whole["obtained"][i][j]
        assert [-1 if each is None else each for each in (images, out, into)] == [n[i, j], fooled[i, j], fooled[j, i]]
        assert rung in {None, 0, 1}

    flags = api.get("/matrix?format=csv&values=obtained").text.splitlines()
    assert flags[0] == ",".join(["model", *names])
    assert [line.split(",")[1:] for line in flags[1:]] == [[each or "" for each in row] for row in whole["obtained"]]


@pytest.mark.parametrize("format_", ["json", "csv", "npz", "parquet"])
def test_an_empty_zoo_has_an_empty_matrix_in_every_format(api: Api, world: World, format_: str) -> None:
    answer = api.get(f"/matrix?format={format_}")
    assert answer.status_code == 200
    assert answer.content


@pytest.mark.parametrize("format_", ["json", "csv", "npz", "parquet"])
def test_a_version_is_rendered_once_and_a_newer_one_anew(api: Api, zoo: World, format_: str) -> None:
    first = api.get(f"/matrix?format={format_}")
    kept = list(api.app.state.services.renderings._kept.values())
    again = api.get(f"/matrix?format={format_}")
    assert list(api.app.state.services.renderings._kept.values()) == kept
    assert again.content == first.content
    unchanged = api.get(f"/matrix?format={format_}", headers={"If-None-Match": first.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    zoo.add_model("vit-new")
    newer = api.get(f"/matrix?format={format_}", headers={"If-None-Match": first.headers["etag"]})
    assert newer.status_code == 200
    assert newer.content != first.content
    assert len(api.app.state.services.renderings._kept) == 1, "the older one is given up"


async def collected(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_readers_share_a_rendering_and_get_it_while_it_is_written(tmp_path: Path, anyio_backend: str) -> None:
    renderings, go_on, made = Renderings(tmp_path), threading.Event(), []

    def make(write) -> None:
        made.append(True)
        write(b"first ")
        go_on.wait(10)
        write(b"second")

    early = await renderings.get(Rendered(1, ("a",)), make)
    stream = early.read()
    assert await anext(stream) == b"first "
    late = await renderings.get(Rendered(1, ("a",)), make)
    go_on.set()
    assert await collected(stream) == b"second"
    assert await collected(late.read()) == b"first second"
    assert made == [True]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_half_a_rendering_does_not_look_whole(tmp_path: Path, anyio_backend: str) -> None:
    def make(write) -> None:
        write(b"half")
        raise OSError("the disk is full")

    rendering = Rendering(tmp_path)
    rendering.render(make)
    with pytest.raises(RuntimeError, match="failed"):
        await collected(rendering.read())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_rendering_that_broke_off_is_made_anew_for_the_next(tmp_path: Path, anyio_backend: str) -> None:
    renderings, full = Renderings(tmp_path), [True]

    def make(write) -> None:
        write(b"half")
        if full:
            full.clear()
            raise OSError("the disk is full")
        write(b" and half")

    of = Rendered(1, ("a",))
    with pytest.raises(RuntimeError, match="failed"):
        await collected((await renderings.get(of, make)).read())
    mended = await renderings.get(of, make)
    assert await collected(mended.read()) == b"half and half"
    assert await renderings.get(of, make) is mended


def test_renderings_leave_no_file_behind_and_few_open(tmp_path: Path) -> None:
    renderings = Renderings(tmp_path)

    async def read(serial: int) -> bytes:
        return await collected((await renderings.get(Rendered(serial, ("a",)), lambda write: write(b"x"))).read())

    opened = len(list(Path("/proc/self/fd").iterdir()))
    assert [anyio.run(read, serial) for serial in range(20)] == [b"x"] * 20
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= opened + 2
    assert list(tmp_path.iterdir()) == []
