"""The snapshot: what it holds is what the rows say, however it came to hold it."""

import itertools
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, delete, update

from registry.access import LOCAL
from registry.database import make_engine
from registry.errors import NotFoundError, UnavailableError
from registry.jobs import claim
from registry.models import delete_model
from registry.reads.noise import certainly_above
from registry.reads.snapshot import Snapshot, View, read_view
from registry.reads.watch import LOOK_AGAIN_SECONDS, Watch
from registry.reevaluation import re_evaluate
from registry.remaking import replace_attack
from registry.tables import (
    AttackRow,
    ComparisonRow,
    EvaluationRow,
    JobKind,
    Lane,
    ModelRow,
    ModelState,
    NameRow,
    Part,
)
from registry.versions import raise_all_versions
from registry.wanting import want
from sat_engine import bits
from sat_engine.scores import MISSING, above_noise, above_noise_counts, score
from tests.api.world import World


def read(engine: Engine, previous: View | None = None, wanted: frozenset[int] = frozenset()) -> View:
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        return read_view(connection, wanted, previous)


def engine_of(world: World) -> Engine:
    engine = world.sessions.kw["bind"]
    assert isinstance(engine, Engine)
    return engine


def same(one: Snapshot, other: Snapshot) -> bool:
    for name in ("networks", "n", "fooled", "both", "rungs", "above_noise"):
        np.testing.assert_array_equal(getattr(one.cells, name), getattr(other.cells, name), err_msg=name)
    np.testing.assert_array_equal(one.cells.sat, other.cells.sat)
    assert one.measures.solo == other.measures.solo
    assert one.measures.attack_bits == other.measures.attack_bits
    assert one.measures.select_bits == other.measures.select_bits
    return (one.members, one.comparison, one.refusals) == (other.members, other.comparison, other.refusals)


class Changes:
    """Random changes of a world, as workers and people make them."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.rng, self.gone = world, np.random.default_rng(seed), set[str]()
        self.names = (f"{family}-{index}" for index in itertools.count() for family in ("resnet", "vit"))

    def make(self) -> None:
        """One change."""
        kinds = [self.add, self.transfer, self.delete, self.bring_back]
        kinds[self.rng.choice(4, p=[0.1, 0.7, 0.1, 0.1])]()

    def add(self) -> None:
        self.world.add_model(next(self.names), accuracy=self.rng.uniform(0.3, 1))

    def transfer(self) -> None:
        ids = sorted(set(self.world.networks.values()))
        source, target = (int(each) for each in self.rng.choice(ids, 2, replace=False))
        if not self.world.has_cell(source, target, 0):
            self.world.transfer(source, target, 0, rate=self.rng.choice([0.0, 0.05, 0.5]))
        elif not self.world.has_cell(source, target, 1):
            self.world.transfer(source, target, 1)

    def delete(self) -> None:
        live = sorted(set(self.world.networks) - self.gone)
        if len(live) > 2:
            name = str(self.rng.choice(live))
            self.gone.add(name)
            with self.world.sessions.begin() as session:
                delete_model(session, name, actor=LOCAL)

    def bring_back(self) -> None:
        if self.gone:
            # its name stays gone; one more model brings its network, and so its results, back
            name = str(self.rng.choice(sorted(self.gone)))
            self.world.add_model(f"{next(self.names)}-again", shares=name)


@pytest.mark.parametrize("seed", range(3))
def test_following_changes_ends_where_a_full_reading_does(world: World, seed: int) -> None:
    changes, view = Changes(world, seed), None
    for _ in range(4):
        changes.add()
    for _ in range(25):
        for _ in range(3):
            changes.make()
        view = read(engine_of(world), view)
    assert view is not None
    assert same(view.snapshots[world.comparison_id], read(engine_of(world)).snapshots[world.comparison_id])


def test_a_pair_whose_attack_was_replaced_is_gone(world: World) -> None:
    a, b = world.add_model("resnet-a"), world.add_model("vit-b")
    world.transfer(a, b, 0, rate=0.5)
    view = read(engine_of(world))
    with world.sessions.begin() as session:
        want(session, JobKind.TRANSFERS, network_id=b, comparison_id=world.comparison_id)
    with world.sessions.begin() as session:
        claimed = claim(session, (Lane.COMPUTE,), world.worker_id, 15)
        assert claimed is not None
        images = session.get_one(AttackRow, (world.comparison_id, a, 0)).images_sha256
    with world.sessions.begin() as session:
        assert replace_attack(session, claimed, a, 0, images)
    later = read(engine_of(world), view).snapshots[world.comparison_id]
    assert same(later, read(engine_of(world)).snapshots[world.comparison_id])
    assert later.cells.n[0, 1] == later.cells.n[1, 0] == MISSING


def test_a_network_that_was_forgotten_and_prepared_between_two_readings_has_no_scores(world: World) -> None:
    a, b = world.add_model("resnet-a"), world.add_model("vit-b")
    for source, target in ((a, b), (b, a)):
        world.transfer(source, target, 0)
    view = read(engine_of(world))
    with world.sessions.begin() as session:
        re_evaluate(session, "resnet-a", actor=LOCAL)
    with world.sessions.begin() as session:
        session.execute(update(ModelRow).where(ModelRow.network_id == a).values(state=ModelState.READY))
        raise_all_versions(session)
    later = read(engine_of(world), view).snapshots[world.comparison_id]
    assert same(later, read(engine_of(world)).snapshots[world.comparison_id])
    assert np.isnan(later.cells.sat[later.position[a]]).all()


def test_every_score_is_that_of_the_stored_bits(zoo: World) -> None:
    snapshot = read(engine_of(zoo)).snapshots[zoo.comparison_id]
    for a, b in itertools.combinations(sorted(zoo.networks.values()), 2):
        counted = zoo.counts(a, b)
        assert counted is not None
        i, j = snapshot.position[a], snapshot.position[b]
        assert snapshot.cells.sat[i, j] == snapshot.cells.sat[j, i] == score(counted[0]).sat
        assert snapshot.cells.fooled[i, j] == counted[0].fooled_ab
        assert snapshot.cells.fooled[j, i] == counted[0].fooled_ba


def test_the_noise_verdict_is_the_engines_on_the_bits(world: World) -> None:
    for index in range(6):
        world.add_model(f"resnet-{index}")
    ids = sorted(world.networks.values())
    for source, target in itertools.permutations(ids, 2):
        for rung in (0, 1):
            world.transfer(source, target, rung, rate=0.02 + 0.1 * ((source + target) % 5))
    snapshot = read(engine_of(world)).snapshots[world.comparison_id]
    verdicts = set()
    for source, target in itertools.permutations(ids, 2):
        common = world.correct[source][Part.ATTACK] & world.correct[target][Part.ATTACK]
        fooled = world.fooled(source, target)
        expected = above_noise(fooled[common], world.noise[target][common])
        assert snapshot.cells.above_noise[snapshot.position[source], snapshot.position[target]] == expected
        verdicts.add(expected)
    assert verdicts == {True, False}


def test_a_second_rung_without_its_first_is_not_taken_for_it(world: World) -> None:
    """Where an attack's images could not be made again, rung 0 is being attacked anew while rung 1 stands."""
    network = world.add_model("resnet-a")
    before = read(engine_of(world)).snapshots[world.comparison_id].measures.solo[network]
    assert before.attack is not None
    assert before.attack.rungs == 2
    with world.sessions.begin() as session:
        session.execute(delete(AttackRow).where(AttackRow.rung == 0))
        session.execute(delete(EvaluationRow).where(EvaluationRow.part == Part.ATTACK, EvaluationRow.rung == 0))
    after = read(engine_of(world)).snapshots[world.comparison_id].measures.solo[network]
    assert (after.attack, after.evaluated_rungs, after.accuracies.get(Part.ATTACK)) == (None, 0, None)


def test_a_cell_onto_a_network_without_an_attack_is_neither_above_noise_nor_below(world: World) -> None:
    source, target = world.add_model("resnet-a"), world.add_model("resnet-b", attacked=False)
    world.transfer(source, target, rate=0.0)
    cells = read(engine_of(world)).snapshots[world.comparison_id].cells
    assert cells.above_noise[0, 1] == MISSING


def test_counts_are_only_trusted_where_no_bits_could_say_otherwise() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(1, 60))
        fooled, noise = rng.random(n) < rng.random(), rng.random(n) < rng.random() / 4
        columns = [np.array([value]) for value in (fooled.sum(), noise.sum(), n)]
        exact = above_noise_counts(
            np.array([(fooled & ~noise).sum()]), np.array([(noise & ~fooled).sum()]), np.array([n])
        )
        assert exact[0] == above_noise(fooled, noise)
        assert exact[0] or not certainly_above(*columns)[0]


def test_a_reader_keeps_the_snapshot_it_holds(zoo: World) -> None:
    view = read(engine_of(zoo))
    held = view.snapshots[zoo.comparison_id]
    before = held.cells.sat.copy(), held.members
    zoo.add_model("resnet-new")
    zoo.measure()
    later = read(engine_of(zoo), view)
    assert later.snapshots[zoo.comparison_id].serial > held.serial
    np.testing.assert_array_equal(held.cells.sat, before[0])
    assert held.members == before[1]


def test_nothing_is_read_again_while_no_version_moved(zoo: World) -> None:
    view = read(engine_of(zoo))
    assert read(engine_of(zoo), view) is view


def test_a_version_that_went_back_means_another_database_and_all_is_read(zoo: World) -> None:
    view = read(engine_of(zoo))
    snapshot = view.snapshots[zoo.comparison_id]
    # as if it had been read from a database that was later restored from an older backup
    comparison = replace(snapshot.comparison, version=10**9)
    ahead = replace(snapshot, comparison=comparison, cells=snapshot.cells.empty([]))
    stale = replace(view.zoo, comparisons=(comparison,), networks={})
    later = read(engine_of(zoo), View(stale, {zoo.comparison_id: ahead}))
    assert same(later.snapshots[zoo.comparison_id], snapshot)


def test_a_failed_model_leaves_the_answers_and_comes_back_with_its_old_scores(zoo: World) -> None:
    view = read(engine_of(zoo))
    first = view.snapshots[zoo.comparison_id]

    def mark(state: ModelState, failure: str | None) -> None:
        with zoo.sessions.begin() as session:
            session.execute(
                update(ModelRow)
                .where(ModelRow.network_id == zoo.networks["vit-a"])
                .values(state=state, failure=failure)
            )
            raise_all_versions(session)

    mark(ModelState.FAILED, "it broke.")
    view = read(engine_of(zoo), view)
    assert "vit-a" not in [model.name for model in view.snapshots[zoo.comparison_id].members]
    mark(ModelState.READY, None)
    view = read(engine_of(zoo), view)
    np.testing.assert_array_equal(view.snapshots[zoo.comparison_id].cells.sat, first.cells.sat)


def test_a_paused_comparison_is_read_when_somebody_asks_for_it(zoo: World) -> None:
    first = zoo.comparison_id
    zoo.add_comparison("other", default=False)
    watch = Watch(engine_of(zoo))
    assert set(watch.view().snapshots) == {first}
    assert watch.peek("other", None) is None
    assert watch.select("other", None).comparison.name == "other/pgd"
    assert set(watch.view().snapshots) == {first, zoo.comparison_id}


def test_a_comparison_that_nobody_asks_for_is_dropped_and_comes_back(zoo: World) -> None:
    first = zoo.comparison_id
    other = zoo.add_comparison("other", default=False)
    watch = Watch(engine_of(zoo), forget_seconds=1.0)
    assert watch.select("other", None).comparison.id == other
    for _ in range(3):
        time.sleep(0.5)
        assert watch.peek("other", None) is not None
        assert set(watch.refresh().snapshots) == {first, other}
    time.sleep(1.2)
    assert set(watch.refresh().snapshots) == {first}
    assert watch.select("other", None).comparison.id == other


def test_the_watch_hears_of_a_new_version_without_being_asked(zoo: World) -> None:
    watch = Watch(engine_of(zoo), poll_seconds=60)
    watch.start()
    try:
        version = watch.select(None, None).comparison.version
        arrived = threading.Event()
        zoo.add_model("resnet-new")
        for _ in range(100):
            if watch.view().snapshots[zoo.comparison_id].comparison.version > version + 2:
                arrived.set()
                break
            arrived.wait(0.1)
        assert arrived.is_set()
        assert watch.view().zoo.find("resnet-new").name == "resnet-new"
    finally:
        watch.stop()


def test_the_poll_sees_a_change_that_nobody_announced(zoo: World) -> None:
    watch = Watch(engine_of(zoo), poll_seconds=0.2)
    watch.start()
    try:
        watch.select(None, None)
        with zoo.sessions.begin() as session:
            session.execute(update(ComparisonRow).values(version=ComparisonRow.version + 1))
            session.execute(update(NameRow).where(NameRow.name == "vit-a").values(name="renamed"))
        waiting = threading.Event()
        for _ in range(100):
            if "renamed" in watch.view().zoo.by_name:
                break
            waiting.wait(0.1)
        assert "renamed" in watch.view().zoo.by_name
    finally:
        watch.stop()


def test_readers_at_the_same_time_share_one_reading(zoo: World) -> None:
    watch = Watch(engine_of(zoo))
    watch.view()
    views: list[View] = []
    zoo.add_model("resnet-new")
    threads = [threading.Thread(target=lambda: views.append(watch.refresh())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(views) == 8
    assert len({id(view) for view in views}) == 1


def test_without_a_database_the_watch_says_that_it_is_unavailable() -> None:
    engine = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    with pytest.raises(UnavailableError, match="does not answer"):
        Watch(engine).view()


def test_names_aliases_and_digests_resolve(world: World) -> None:
    world.add_model("resnet-a", aliases=("champion",))
    zoo = read(engine_of(world)).zoo
    model = zoo.find("resnet-a")
    assert model.network is not None
    assert zoo.find("champion") is model
    assert zoo.find(f"@{model.network.digest[:8]}") is model
    for unknown in ("resnet-b", "@" + "0" * 64, "@abc", ""):
        with pytest.raises(NotFoundError):
            zoo.find(unknown)


def test_bits_of_the_select_part_are_those_recorded(zoo: World) -> None:
    snapshot = read(engine_of(zoo)).snapshots[zoo.comparison_id]
    for network, correct in zoo.correct.items():
        np.testing.assert_array_equal(
            bits.unpack(snapshot.measures.select_bits[network], zoo.sizes[Part.SELECT]), correct[Part.SELECT]
        )


def test_names_that_there_are_not_cost_few_readings(zoo: World, monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[float] = []

    def counted(*arguments: Any) -> View:
        readings.append(time.monotonic())
        return read_view(*arguments)

    monkeypatch.setattr("registry.reads.watch.read_view", counted)
    watch = Watch(engine_of(zoo))
    watch.view()
    for _ in range(4):
        threads = [threading.Thread(target=watch.look_again) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # forty callers, in a few waves: those of one wave share its reading, or the next one
    assert 5 <= len(readings) <= 10
    assert min(later - sooner for sooner, later in itertools.pairwise(readings)) > LOOK_AGAIN_SECONDS / 2
    asked = time.monotonic()
    watch.look_again()
    assert readings[-1] > asked
