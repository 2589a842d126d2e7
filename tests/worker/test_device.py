"""One worker a GPU: the database's lock reaches containers that do not see each other's files."""

import tempfile
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from registry.database import make_engine
from worker import device
from worker.device import choose_device, take_gpu


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Another container: a /tmp of its own."""

    def enter():
        folder = tmp_path / uuid4().hex
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))

    return enter


def test_a_gpu_is_one_workers_on_one_machine(elsewhere):
    elsewhere()
    held = take_gpu("GPU-1", None)
    assert take_gpu("GPU-1", None) is None
    take_gpu("GPU-2", None).release()
    held.release()
    take_gpu("GPU-1", None).release()


def test_a_gpu_is_one_workers_across_containers_until_its_process_ends(database_url, elsewhere):
    one, other = make_engine(database_url), make_engine(database_url)
    elsewhere()
    held = take_gpu("GPU-1", one)
    assert held is not None
    elsewhere()
    assert take_gpu("GPU-1", other) is None
    take_gpu("GPU-2", other).release()
    one.dispose()  # the pool may go: the session is the lock's own
    assert take_gpu("GPU-1", other) is None
    held.release()
    take_gpu("GPU-1", other).release()
    other.dispose()


def end_session(engine, lock):
    """As a restart of the database does; returns when the session is gone."""
    held = lock.session.scalar(select(func.pg_backend_pid()))
    with engine.begin() as connection:
        assert connection.scalar(select(func.pg_terminate_backend(held, 5000)))


def test_a_restart_of_the_database_lets_go_of_a_gpu_for_a_moment_only(database_url, elsewhere):
    one, other = make_engine(database_url), make_engine(database_url)
    elsewhere()
    held = take_gpu("GPU-1", one)
    assert held.keep()
    end_session(other, held)
    assert held.keep()
    elsewhere()
    assert take_gpu("GPU-1", other) is None
    end_session(other, held)
    taken = take_gpu("GPU-1", other)
    assert taken is not None
    assert not held.keep()
    taken.release()
    held.release()
    one.dispose()
    other.dispose()


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").torch_name == "cpu"
    assert device.memory_of(choose_device("cpu")) is None
    with pytest.raises(RuntimeError, match="torch sees no GPU"):
        choose_device("cuda:0")
