"""The supervisor: it starts, restarts, stops in order, and loses nothing when it is killed."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from embedded import keeper
from embedded.errors import EmbeddedError
from embedded.folder import FolderLock, find_announced
from embedded.processes import processes_in
from embedded.programs import Programs, compute_worker_count, core_count, environment, listen
from embedded.supervisor import FolderBusyError, Stack, join_or_start

# what the fixtures of conftest.py give
Ask = Callable[..., dict[str, int]]
Alive = Callable[[int], bool]
Eventually = Callable[[Callable[[], object]], None]
Serve = Callable[..., AbstractContextManager[Any]]


def test_workers_get_their_lane_and_their_share_of_the_cores(stack: Stack, eventually: Eventually) -> None:
    eventually(lambda: len(list(stack.home.glob("worker-*.json"))) >= 2)
    records = [json.loads(path.read_text()) for path in stack.home.glob("worker-*.json")]
    assert {record["SAT_LANES"] for record in records} == {"compute", "light"}
    assert {record["OMP_WAIT_POLICY"] for record in records} == {"PASSIVE"}
    assert {record["OMP_NUM_THREADS"] for record in records} == {str(core_count())}
    assert {record["REDIS_URL"] for record in records} == {stack.redis_url}


def test_a_killed_api_comes_back_on_its_port_and_no_connection_is_refused(stack: Stack, ask: Ask) -> None:
    before = ask(stack.url)["pid"]
    assert before == stack.pids["api"]
    os.kill(before, signal.SIGKILL)
    # asked once, at once: the connection waits in the socket that the supervisor holds
    assert ask(stack.url)["pid"] not in (before, None)


def test_a_killed_postgres_comes_back_with_all_committed_rows(stack: Stack, ask: Ask, eventually: Eventually) -> None:
    rows, before = ask(stack.url, "/rows")["rows"], stack.pids["postgres"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: stack.pids["postgres"] != before)

    def answered() -> bool:
        try:
            return ask(stack.url, "/rows")["rows"] == rows + 1
        except OSError:
            return False

    eventually(answered)


def test_a_killed_worker_is_replaced_and_what_it_had_started_ends(
    stack: Stack, alive: Alive, eventually: Eventually
) -> None:
    before = stack.pids["worker-1"]
    record = stack.home / f"worker-{before}.json"
    eventually(record.exists)
    own = json.loads(record.read_text())["own"]
    assert alive(own)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: stack.pids["worker-1"] != before)
    assert not alive(own)


def test_a_second_stack_on_the_folder_is_refused_and_joins_instead(
    stack: Stack, small_programs: Callable[..., Programs]
) -> None:
    with pytest.raises(FolderBusyError), Stack(stack.home, programs=small_programs()):
        pass
    with join_or_start(stack.home, programs=small_programs()) as joined:
        assert (joined.url, joined.pid, joined.started) == (stack.url, os.getpid(), False)
    assert find_announced(stack.home) is not None


def test_two_that_start_at_the_same_time_share_one_stack(
    tmp_path: Path, small_programs: Callable[..., Programs]
) -> None:
    handles, both, errors = [], threading.Barrier(2, timeout=60), []

    def use() -> None:
        try:
            with join_or_start(tmp_path, 18600, programs=small_programs(), say=lambda _: None) as handle:
                handles.append(handle)
                both.wait()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(handle.started for handle in handles) == [False, True]
    assert handles[0].url == handles[1].url


def test_kill_9_of_the_supervisor_leaves_no_orphan_and_loses_no_committed_row(
    tmp_path: Path, serve: Serve, ask: Ask, alive: Alive, eventually: Eventually
) -> None:
    rows = 0
    for _ in range(3):
        with serve(tmp_path) as serving:
            rows += 1
            assert ask(serving.url, "/rows")["rows"] == rows
            backends = processes_in(tmp_path / "postgres")
            assert serving.pids["postgres"] in backends
            serving.process.kill()
            serving.process.wait()
            for pid in [*serving.pids.values(), *backends]:
                eventually(lambda pid=pid: not alive(pid))


def test_sigterm_without_a_handler_leaves_no_orphan_either(
    tmp_path: Path, serve: Serve, alive: Alive, eventually: Eventually
) -> None:
    with serve(tmp_path) as serving:
        pids = serving.pids
    eventually(lambda: not any(alive(pid) for pid in pids.values()))


def test_an_ended_stack_leaves_no_process_no_socket_and_no_announcement(
    tmp_path: Path, small_programs: Callable[..., Programs], alive: Alive
) -> None:
    with Stack(tmp_path, port=18700, compute_workers=1, programs=small_programs(), say=lambda _: None) as stack:
        pids, sockets = stack.pids, (tmp_path / "sockets").readlink()
        announced = find_announced(tmp_path)
        assert announced is not None
        assert (announced.url, announced.pid) == (stack.url, os.getpid())
    assert not any(alive(pid) for pid in pids.values())
    assert not sockets.exists()
    assert find_announced(tmp_path) is None
    assert "database system is shut down" in (tmp_path / "logs" / "postgres.log").read_text()


def test_a_taken_port_gives_the_next_free_one_and_says_so() -> None:
    said: list[str] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with listen(taken, said.append) as listener:
            assert taken < listener.getsockname()[1] < taken + 1000
    assert said == [f"Port {taken} cannot be had; the registry listens on {listener_port(said[0])}."]


def listener_port(sentence: str) -> int:
    return int(sentence.rstrip(".").rsplit(" ", 1)[1])


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def test_the_port_comes_from_the_argument_then_sat_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for_setting, for_argument = free_ports(2)
    monkeypatch.setenv("SAT_PORT", str(for_setting))
    with listen(None, print) as first:
        assert first.getsockname() == ("127.0.0.1", for_setting)
    with listen(for_argument, print) as second:
        assert second.getsockname() == ("127.0.0.1", for_argument)
    monkeypatch.setenv("SAT_PORT", "http")
    with pytest.raises(EmbeddedError, match="SAT_PORT is 'http': set it to a port number"):
        listen(None, print)


def test_the_number_of_workers_is_as_asked_or_as_the_cores_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAT_WORKERS", raising=False)
    assert compute_worker_count(None) == min(4, core_count())
    monkeypatch.setenv("SAT_WORKERS", "7")
    assert compute_worker_count(None) == 7
    assert compute_worker_count(2) == 2
    for wrong in ("0", "many", "-1"):
        monkeypatch.setenv("SAT_WORKERS", wrong)
        with pytest.raises(EmbeddedError, match="SAT_WORKERS"):
            compute_worker_count(None)


def test_downloads_go_into_the_data_folder_only_where_the_home_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "XDG_CACHE_HOME" not in environment(tmp_path, "", "")
    monkeypatch.setenv("HOME", "/nonexistent")
    assert environment(tmp_path, "", "")["XDG_CACHE_HOME"].startswith(str(tmp_path))


def test_the_servers_are_the_stacks_own_and_the_artifacts_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/production")
    monkeypatch.setenv("SAT_ARTIFACTS", "s3://bucket/prefix")
    settings = environment(tmp_path, "own database", "own queue")
    assert (settings["DATABASE_URL"], settings["REDIS_URL"]) == ("own database", "own queue")
    assert settings["SAT_ARTIFACTS"] == "s3://bucket/prefix"


def test_a_failed_migration_is_shown_and_everything_ends(
    tmp_path: Path, small_programs: Callable[..., Programs]
) -> None:
    programs = small_programs(migrate=(sys.executable, "-c", "raise SystemExit('revision abc is unknown')"))
    with pytest.raises(EmbeddedError, match="revision abc is unknown"), Stack(tmp_path, programs=programs):
        pass
    assert processes_in(tmp_path / "postgres") == []
    lock = FolderLock(tmp_path)
    assert lock.acquire()
    lock.release()


def test_an_api_that_does_not_start_is_shown_with_its_last_words(
    tmp_path: Path, small_programs: Callable[..., Programs]
) -> None:
    programs = small_programs(api=(sys.executable, "-c", "raise SystemExit('no module named api')"))
    said: list[str] = []
    with pytest.raises(EmbeddedError, match=r"api does not start:\n(.|\n)*no module named api"):  # noqa: SIM117
        with Stack(tmp_path, port=19000, programs=programs, say=said.append):
            pass
    assert any("api ended (status 1); starting it again in 1 s" in sentence for sentence in said), said
    assert processes_in(tmp_path / "postgres") == []


def test_a_folder_that_cannot_be_made_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="set SAT_HOME"), Stack(tmp_path / "file" / "home"):
        pass


def test_logs_are_bounded_while_their_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOG_BYTES", 100)
    log: Path = tmp_path / "api.log"
    with log.open("ab") as writer:
        writer.write(b"x" * 101)
        writer.flush()
        keeper.bound_logs([log, tmp_path / "absent.log"])
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "api.log.1").read_bytes() == b"x" * 101


def test_the_announced_url_is_on_loopback(stack: Stack) -> None:
    assert urlsplit(stack.url).hostname == "127.0.0.1"
