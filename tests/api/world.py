"""A registry written through the tables, with random bits where networks would have been measured."""

from dataclasses import dataclass, field
from hashlib import sha256
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.database import Sessions
from registry.protocols import ensure_presets
from registry.tables import (
    ArtifactRow,
    ArtifactState,
    AttackRow,
    ComparisonRow,
    ComparisonState,
    EvaluationRow,
    ImageSetRow,
    JobKind,
    JobRow,
    JobState,
    ModelRow,
    ModelState,
    NameRow,
    NetworkRow,
    PairRow,
    Part,
    ProtocolRow,
    RefusalRow,
    Source,
    TaskRow,
    TransferRow,
    WorkerRow,
)
from registry.versions import raise_all_versions, raise_version
from registry.wanting import want
from sat_engine import bits
from sat_engine.scores import PairCounts, count_pair

Bools = NDArray[np.bool_]
CLASSES = ["no", "yes"]
BASES = {"resnet": "CNN", "vit": "Transformer", "mixer": "MLP-Mixer"}


@dataclass
class World:
    """Writes what workers would have recorded, each step in one committed transaction."""

    sessions: Sessions
    rng: np.random.Generator
    task_id: int = 0
    worker_id: int = 0
    image_set_id: int = 0
    comparison_id: int = 0
    sizes: dict[Part, int] = field(default_factory=lambda: {Part.ATTACK: 40, Part.SELECT: 32, Part.REPORT: 24})
    prefix: int = 16
    correct: dict[int, dict[Part, Bools]] = field(default_factory=dict)
    noise: dict[int, Bools] = field(default_factory=dict)
    networks: dict[str, int] = field(default_factory=dict)

    @property
    def rungs(self) -> list[slice]:
        """The positions of each rung in the attack part."""
        n = self.sizes[Part.ATTACK]
        return [slice(0, self.prefix), slice(self.prefix, n)] if self.prefix < n else [slice(0, n)]

    def add_comparison(self, image_set: str = "digits", *, default: bool = True) -> int:
        """An image set and its comparison under `pgd`; later calls of other methods are about it."""
        with self.sessions.begin() as session:
            ensure_presets(session)
            task = session.scalars(select(TaskRow)).first() or TaskRow(name="yes-no", digest=b"t" * 32, classes=CLASSES)
            session.add(task)
            worker = WorkerRow(
                host="here", pid=7, lanes="compute,light", device="cpu", code_version="1", torch_version="2"
            )
            session.add(worker)
            session.flush()
            row = ImageSetRow(
                name=image_set, task_id=task.id, digest=sha256(image_set.encode()).digest(),
                content=artifact(session, image_set), n_attack=self.sizes[Part.ATTACK],
                n_select=self.sizes[Part.SELECT], n_report=self.sizes[Part.REPORT], prefix=self.prefix,
                side=8, channels=1,
            )  # fmt: skip
            session.add(row)
            session.flush()
            protocol = session.scalars(select(ProtocolRow).where(ProtocolRow.name == "pgd")).one()
            comparison = ComparisonRow(
                image_set_id=row.id, protocol_id=protocol.id, state=ComparisonState.MEASURING, is_default=default
            )
            session.add(comparison)
            session.flush()
            self.task_id, self.worker_id = task.id, worker.id
            self.image_set_id, self.comparison_id = row.id, comparison.id
            raise_version(session, comparison.id)
        return self.comparison_id

    def add_model(
        self,
        name: str,
        *,
        accuracy: float = 0.9,
        state: ModelState = ModelState.READY,
        shares: str | None = None,
        attacked: bool = True,
        aliases: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
    ) -> int:
        """A model with a network of its own (or that of `shares`), evaluated and attacked; returns the network's id."""
        family = name.split("-", maxsplit=1)[0]
        with self.sessions.begin() as session:
            network_id = self.networks[shares] if shares else self._add_network(session, name, family)
            model = ModelRow(
                task_id=self.task_id, network_id=network_id, source=Source.UPLOAD, state=state,
                declaration={"architecture": f"test_{family}", "model_args": {}, "pretrained": None, "input": None},
                checkpoint=artifact(session, name), content_sha256=sha256(name.encode()).digest(), tags=list(tags),
                failure="it broke." if state is ModelState.FAILED else None,
                concern="it guesses." if state is ModelState.SUSPECT else None,
            )  # fmt: skip
            session.add(model)
            session.flush()
            session.add(NameRow(name=name, model_id=model.id, is_alias=False))
            session.add_all([NameRow(name=alias, model_id=model.id, is_alias=True) for alias in aliases])
            self.networks[name] = network_id
            session.flush()
            raise_all_versions(session)
        if not shares:
            self.evaluate(network_id, accuracy)
            if attacked:
                self.attack(network_id)
        return network_id

    def add_received(self, name: str) -> None:
        """A model that waits for its preparation."""
        with self.sessions.begin() as session:
            model = ModelRow(
                task_id=self.task_id, source=Source.UPLOAD, content_sha256=b"c" * 32,
                checkpoint=artifact(session, name),
                declaration={"architecture": "test_resnet", "model_args": {}, "pretrained": None, "input": None},
            )  # fmt: skip
            session.add(model)
            session.flush()
            session.add(NameRow(name=name, model_id=model.id, is_alias=False))
            session.flush()
            raise_all_versions(session)

    def prepare(self, name: str) -> int:
        """A network for a received model; returns its id."""
        with self.sessions.begin() as session:
            model = session.scalars(
                select(ModelRow).join(NameRow, NameRow.model_id == ModelRow.id).where(NameRow.name == name)
            ).one()
            network_id = self._add_network(session, name, name.split("-", maxsplit=1)[0])
            model.network_id, model.state = network_id, ModelState.READY
            self.networks[name] = network_id
            session.flush()
            raise_all_versions(session)
        return network_id

    def add_task(self, name: str, classes: list[str]) -> None:
        """Another task; models that are added later are of it."""
        with self.sessions.begin() as session:
            task = TaskRow(name=name, digest=sha256(name.encode()).digest(), classes=classes)
            session.add(task)
            session.flush()
            self.task_id = task.id

    def _add_network(self, session: Session, name: str, family: str) -> int:
        network = NetworkRow(
            digest=sha256(name.encode()).digest(), task_id=self.task_id, architecture=f"test_{family}", model_args={},
            input_side=8, channels=1, mean=[0.5], std=[0.25], class_map=[0, 1], components={"Base": BASES.get(family)},
            base=BASES.get(family, "CNN"), family=family, parameters=1000 + len(self.networks), macs=2_000_000,
            weights=artifact(session, name),
        )  # fmt: skip
        session.add(network)
        session.flush()
        return network.id

    def evaluate(self, network_id: int, accuracy: float = 0.9) -> None:
        """Random correct bits of about this accuracy on every part."""
        self.correct[network_id] = {part: self.rng.random(n) < accuracy for part, n in self.sizes.items()}
        with self.sessions.begin() as session:
            for part, correct in self.correct[network_id].items():
                for rung, where in enumerate(self.rungs if part is Part.ATTACK else [slice(None)]):
                    session.add(
                        EvaluationRow(
                            network_id=network_id,
                            image_set_id=self.image_set_id,
                            part=part,
                            rung=rung,
                            n=len(correct[where]),
                            correct=bits.pack(correct[where]),
                            n_correct=int(correct[where].sum()),
                            logits=artifact(session, "logits"),
                            numeric_path="float32",
                            worker_id=self.worker_id,
                        )
                    )
            session.flush()
            raise_version(session, self.comparison_id)

    def attack(self, network_id: int, *, rungs: tuple[int, ...] | None = None, fools: float = 0.98) -> None:
        """An attack on these rungs (default: all) that fools its source at this rate, and noise that seldom does."""
        correct = self.correct[network_id][Part.ATTACK]
        noise = self.noise.setdefault(network_id, correct & (self.rng.random(len(correct)) < 0.05))
        with self.sessions.begin() as session:
            for rung in rungs if rungs is not None else range(len(self.rungs)):
                where = self.rungs[rung]
                fooled = correct[where] & (self.rng.random(len(correct[where])) < fools)
                images = artifact(session, f"images {network_id} {rung}")
                session.add(
                    AttackRow(
                        comparison_id=self.comparison_id,
                        network_id=network_id,
                        rung=rung,
                        attacked=int(correct[where].sum()),
                        fooled=bits.pack(fooled),
                        n_fooled=int(fooled.sum()),
                        noise_fooled=bits.pack(noise[where]),
                        n_noise_fooled=int(noise[where].sum()),
                        images=images,
                        images_sha256=images,
                        numeric_path="float32",
                        worker_id=self.worker_id,
                        fence=1,
                    )
                )
            session.flush()
            raise_version(session, self.comparison_id)

    def transfer(
        self,
        source: int,
        target: int,
        rung: int = 0,
        *,
        rate: float | None = None,
        controls: tuple[Bools, Bools] | None = None,
    ) -> None:
        """A directed cell with random bits, and its pair brought up to date. controls: floor and ceiling."""
        with self.sessions.begin() as session:
            self._add_cell(session, source, target, rung, rate=rate, controls=controls)
            session.flush()
            self._update_pair(session, *sorted((source, target)))

    def measure(self, *names: str) -> None:
        """Every cell that is missing between these models (default: all), on all rungs."""
        ids = sorted({self.networks[name] for name in names or self.networks})
        with self.sessions.begin() as session:
            there = {
                tuple(row)
                for row in session.execute(select(TransferRow.source_id, TransferRow.target_id, TransferRow.rung))
            }
            for source, target in permutations(ids, 2):
                for rung in range(len(self.rungs)):
                    if (source, target, rung) not in there:
                        self._add_cell(session, source, target, rung)
            session.flush()
            for a, b in combinations(ids, 2):
                self._update_pair(session, a, b)

    def _add_cell(
        self,
        session: Session,
        source: int,
        target: int,
        rung: int,
        *,
        rate: float | None = None,
        controls: tuple[Bools, Bools] | None = None,
    ) -> None:
        common = (self.correct[source][Part.ATTACK] & self.correct[target][Part.ATTACK])[self.rungs[rung]]
        fooled = common & (self.rng.random(len(common)) < (self.rng.random() if rate is None else rate))
        session.add(
            TransferRow(
                comparison_id=self.comparison_id,
                source_id=source,
                target_id=target,
                rung=rung,
                common=int(common.sum()),
                fooled=bits.pack(fooled),
                n_fooled=int(fooled.sum()),
                floor_fooled=bits.pack(controls[0]) if controls else None,
                ceiling_fooled=bits.pack(controls[1]) if controls else None,
                numeric_path="float32",
                worker_id=self.worker_id,
                fence=1,
            )
        )

    def set_report(self, network_id: int, n_correct: int) -> None:
        """Another accuracy on the report part."""
        with self.sessions.begin() as session:
            session.execute(
                update(EvaluationRow)
                .where(EvaluationRow.network_id == network_id, EvaluationRow.part == Part.REPORT)
                .values(n_correct=n_correct)
            )
            raise_version(session, self.comparison_id)

    def has_cell(self, source: int, target: int, rung: int) -> bool:
        """Whether the directed cell is recorded."""
        with self.sessions() as session:
            return session.get(TransferRow, (self.comparison_id, target, source, rung)) is not None

    def fooled(self, source: int, target: int) -> Bools:
        """Which images of the attack part fool the target, from the stored rows of all rungs."""
        with self.sessions() as session:
            rows = [
                session.get_one(TransferRow, (self.comparison_id, target, source, rung))
                for rung in range(len(self.rungs))
            ]
        return np.concatenate([bits.unpack(row.fooled, self.size(row.rung)) for row in rows])

    def size(self, rung: int) -> int:
        """The images of a rung."""
        return self.rungs[rung].stop - self.rungs[rung].start

    def refuse(self, source: int, target: int, rung: int = 0) -> None:
        """A cell that cannot be measured."""
        with self.sessions.begin() as session:
            session.add(
                RefusalRow(
                    comparison_id=self.comparison_id,
                    source_id=source,
                    target_id=target,
                    rung=rung,
                    reason="its images are lost.",
                )
            )
            session.flush()
            raise_version(session, self.comparison_id)

    def end_job(self, kind: JobKind, network: int, failure: str, state: JobState = JobState.FAILED) -> None:
        """A job that has failed, or is queued to be tried again."""
        with self.sessions.begin() as session:
            want(session, kind, network_id=network, comparison_id=self.comparison_id)
            session.execute(
                update(JobRow)
                .where(JobRow.kind == kind, JobRow.network_id == network, JobRow.comparison_id == self.comparison_id)
                .values(state=state, failure=failure)
            )

    def counts(self, a: int, b: int) -> tuple[PairCounts, int] | None:
        """The pair's counts over its leading rungs and how many these are, straight from the stored bits."""
        with self.sessions() as session:
            return self._counts(session, a, b)

    def _counts(self, session: Session, a: int, b: int) -> tuple[PairCounts, int] | None:
        rows = session.scalars(
            select(TransferRow).where(
                TransferRow.comparison_id == self.comparison_id,
                TransferRow.source_id.in_((a, b)),
                TransferRow.target_id.in_((a, b)),
            )
        ).all()
        have = [{row.rung: row for row in rows if row.source_id == source} for source in (a, b)]
        both = [rung for rung in (0, 1) if rung in have[0] and rung in have[1]]
        shown = both or [rung for rung in (0, 1) if any(rung in each for each in have)]
        if not shown:
            return None
        where = slice(0, self.rungs[shown[-1]].stop)
        fooled = [
            np.concatenate([bits.unpack(each[rung].fooled, self.size(rung)) for rung in shown])
            if all(rung in each for rung in shown)
            else None
            for each in have
        ]
        correct = [self.correct[network][Part.ATTACK][where] for network in (a, b)]
        return count_pair(*correct, *fooled), len(shown)

    def _update_pair(self, session: Session, a: int, b: int) -> None:
        counted = self._counts(session, a, b)
        assert counted is not None
        counts, rungs = counted
        version = raise_version(session, self.comparison_id)
        session.merge(
            PairRow(
                comparison_id=self.comparison_id,
                a_id=a,
                b_id=b,
                rungs=rungs,
                n=counts.n,
                fooled_ab=counts.fooled_ab,
                fooled_ba=counts.fooled_ba,
                fooled_both=counts.fooled_both,
                version=version,
            )
        )


def artifact(session: Session, content: str) -> bytes:
    """A row as if these bytes were stored; returns their sha256."""
    digest = sha256(content.encode()).digest()
    if session.get(ArtifactRow, digest) is None:
        session.add(ArtifactRow(sha256=digest, kind="test", bytes=len(content), state=ArtifactState.STORED))
        session.flush()
    return digest
