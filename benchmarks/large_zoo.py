"""A database filled as if a large zoo had been measured: networks, evaluations, attacks and, on wish, every bit.

Scores are drawn like the published matrix's (mean 2.67, standard deviation 0.33, from 1.83 to 4.14), higher between
networks that share components. Rows go in by binary COPY with foreign keys unchecked; every other rule is checked.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from embedded.postgres import Postgres
from embedded.processes import running
from embedded.sockets import make_socket_folder
from embedded.valkey import Valkey
from registry.__main__ import migrate

N_ATTACK, PREFIX, N_OTHER = 5000, 500, 1000
RUNG_SIZES = (PREFIX, N_ATTACK - PREFIX)
ACCURACY, NOISE_RATE, SELF_FOOLING = 0.8, 0.005, 0.97
FAMILIES = 40
BASES = ("CNN", "Transformer", "MLP-Mixer", "Hybrid", "NAS")
# name and number of values of each of the 13 components; the first weighs most in the scores
COMPONENTS = (
    ("Base architecture", 5), ("Stem layer", 12), ("Normalization", 6), ("Input resolution", 4), ("2D SA", 8),
    ("CW attention", 3), ("Activation", 6), ("Hierarchical structure", 2), ("Pooling (stem)", 2),
    ("Pooling (final)", 3), ("Location of CW attention", 3), ("DW conv", 2), ("Group conv", 2),
)  # fmt: skip
FORMATS = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "float8": ">f8"}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A PostgreSQL and a Valkey of the benchmark's own, neither of which waits for the disk."""

    postgres: Postgres
    url: str
    redis_url: str
    folder: Path


@contextmanager
def stack(*, durable: bool = False) -> Iterator[Stack]:
    """Run both servers in a temporary folder, with a migrated database."""
    with tempfile.TemporaryDirectory(prefix="sat-bench-") as name:
        home, sockets = Path(name), make_socket_folder()
        postgres = Postgres(home / "postgres", sockets, durable=durable)
        valkey = Valkey(home / "valkey", sockets, durable=False)
        with running(postgres.service(), home / "postgres.log"), running(valkey.service(), home / "valkey.log"):
            postgres.create_database()
            migrate(postgres.url())
            yield Stack(postgres=postgres, url=postgres.url(), redis_url=valkey.url, folder=home)
        postgres.discard()
        shutil.rmtree(sockets)


class LargeZoo:
    """Writes networks 1 … m of one task, and what was measured of them, in the default comparison (id 1)."""

    def __init__(self, postgres: Postgres, seed: int = 0) -> None:
        self._connection = postgres.connect("sat")
        # foreign keys are triggers, which a replica does not run: a third of the time
        self._connection.execute("set session_replication_role = replica")
        self._rng = np.random.default_rng(seed)
        self.networks = 0
        family = self._rng.integers([size for _, size in COMPONENTS], size=(FAMILIES, len(COMPONENTS)))
        self._families: NDArray[np.int64] = family
        self._components = np.zeros((0, len(COMPONENTS)), dtype=np.int64)
        self._add_subject()

    def add_networks(self, count: int, *, evaluated: bool = True) -> None:
        """Add models `model-0001` … with networks of their own; evaluated: with evaluations and attacks."""
        ids = np.arange(self.networks + 1, self.networks + count + 1)
        self._components = np.concatenate([self._components, self._draw_components(count)])
        artifacts = [sha256(f"weights {each}".encode()).digest() for each in ids.tolist()]
        self._connection.cursor().executemany(
            "insert into artifacts (sha256, kind, bytes, state) values (%s, 'weights', 1, 'stored')",
            [(each,) for each in artifacts],
        )
        for network, weights in zip(ids.tolist(), artifacts, strict=True):
            self._add_model(network, weights)
        self.networks += count
        if evaluated:
            self.add_evaluations(ids)
            self.add_attacks(ids)

    def add_evaluations(self, ids: NDArray[np.int64]) -> None:
        """Clean bits of every part."""
        for part, rung, n in (("attack", 0, PREFIX), ("attack", 1, N_ATTACK - PREFIX), ("select", 0, N_OTHER),
                              ("report", 0, N_OTHER)):  # fmt: skip
            bits = self._bits(len(ids), n, ACCURACY)
            columns = {
                "network_id": ("int4", ids), "image_set_id": ("int4", 1), "part": ("text", part),
                "rung": ("int2", rung), "n": ("int4", n), "correct": ("bytea", bits), "n_correct": ("int4", ones(bits)),
                "logits": ("bytea", b"0" * 32), "numeric_path": ("text", "float32"), "worker_id": ("int4", 1),
            }  # fmt: skip
            self.copy("evaluations", columns, len(ids))

    def add_attacks(self, ids: NDArray[np.int64]) -> None:
        """Attacks on both rungs."""
        for rung, n in enumerate(RUNG_SIZES):
            fooled, noise = self._bits(len(ids), n, ACCURACY * SELF_FOOLING), self._bits(len(ids), n, NOISE_RATE)
            attacked = np.maximum(np.maximum(ones(fooled), ones(noise)), round(ACCURACY * n))
            columns = {
                "comparison_id": ("int4", 1), "network_id": ("int4", ids), "rung": ("int2", rung),
                "attacked": ("int4", attacked), "fooled": ("bytea", fooled), "n_fooled": ("int4", ones(fooled)),
                "noise_fooled": ("bytea", noise), "n_noise_fooled": ("int4", ones(noise)),
                "images_sha256": ("bytea", b"0" * 32), "numeric_path": ("text", "float32"), "worker_id": ("int4", 1),
                "fence": ("int8", 1),
            }  # fmt: skip
            self.copy("attacks", columns, len(ids))

    def add_pairs(self, first: int = 1, *, bits: bool = False) -> int:
        """Every pair with a network from `first` on; with bits, also the transfers of both directions.

        Return how many pairs. The comparison's version is raised once.
        """
        version, total = self._raise_version(), 0
        for b in range(first, self.networks + 1):
            a = np.arange(1, b)
            if not len(a):
                continue
            total += len(a)
            n = self._rng.binomial(N_ATTACK, ACCURACY**2 + 0.04, len(a))
            rate = np.clip(np.exp(self._sat(a, b)) / 100, 0.0, 1.0)
            ab, ba = self._rng.binomial(n, rate), self._rng.binomial(n, np.clip(rate * 1.1, 0, 1))
            both = np.maximum(self._rng.binomial(np.minimum(ab, ba), 0.5), ab + ba - n)
            if bits:
                self._add_transfers(a, b, n, ab, ba)
            columns = {
                "comparison_id": ("int4", 1), "a_id": ("int4", a), "b_id": ("int4", b), "rungs": ("int2", 2),
                "n": ("int4", n), "fooled_ab": ("int4", ab), "fooled_ba": ("int4", ba), "fooled_both": ("int4", both),
                "version": ("int8", version),
            }  # fmt: skip
            self.copy("pairs", columns, len(a))
        self._connection.execute("analyze")
        return total

    def settle(self) -> None:
        """Do now what the server would do in the minutes after a bulk load, beside what is timed."""
        self._connection.execute("vacuum (analyze)")
        self._connection.execute("checkpoint")

    def copy(self, table: str, columns: Mapping[str, tuple[str, Any]], count: int) -> None:
        """Write `count` rows in PostgreSQL's binary form; a column is an array, or one value for all rows."""
        fields: list[Any] = [("count", ">i2")]
        for name, (kind, value) in columns.items():
            width = np.dtype(FORMATS[kind]).itemsize if kind in FORMATS else _width(value)
            fields += [(f"{name} length", ">i4"), (name, FORMATS.get(kind, f"V{width}"))]
        rows = np.zeros(count, dtype=fields)
        rows["count"] = len(columns)
        for name, (kind, value) in columns.items():
            rows[f"{name} length"] = rows.dtype[name].itemsize
            if kind in FORMATS:
                rows[name] = value
            elif isinstance(value, np.ndarray):
                rows[name] = value.view(f"V{value.shape[1]}").ravel()
            else:
                rows[name] = np.void(value.encode() if isinstance(value, str) else value)
        statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with self._connection.cursor().copy(statement) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            copy.write(rows.tobytes())
            copy.write(b"\xff\xff")

    def _add_transfers(
        self, a: NDArray[np.int64], b: int, n: NDArray[np.int64], ab: NDArray[np.int64], ba: NDArray[np.int64]
    ) -> None:
        for sources, targets, fooled in ((a, b, ab), (b, a, ba)):
            for rung, size in enumerate(RUNG_SIZES):
                columns = {
                    "comparison_id": ("int4", 1), "target_id": ("int4", targets), "source_id": ("int4", sources),
                    "rung": ("int2", rung), "common": ("int4", n * size // N_ATTACK),
                    # random bytes do not compress, as real bits hardly do
                    "fooled": ("bytea", self._rng.integers(0, 256, (len(a), -(-size // 8)), dtype=np.uint8)),
                    "n_fooled": ("int4", np.minimum(fooled * size // N_ATTACK, n * size // N_ATTACK)),
                    "numeric_path": ("text", "float32"), "worker_id": ("int4", 1), "fence": ("int8", 1),
                }  # fmt: skip
                self.copy("transfers", columns, len(a))

    def _sat(self, a: NDArray[np.int64], b: int) -> NDArray[np.float64]:
        weights = np.linspace(2, 0.2, len(COMPONENTS))
        same = (self._components[a - 1] == self._components[b - 1]) @ (weights / weights.sum())
        sat: NDArray[np.float64] = 2.45 + 0.9 * same + self._rng.normal(0, 0.15, len(a))
        return np.clip(sat, 1.83, 4.14)

    def _draw_components(self, count: int) -> NDArray[np.int64]:
        drawn = self._families[self._rng.integers(FAMILIES, size=count)]
        changed = self._rng.random(drawn.shape) < 0.1  # noqa: PLR2004  a tenth differs from its family's
        other = self._rng.integers([size for _, size in COMPONENTS], size=drawn.shape)
        return np.where(changed, other, drawn)

    def _bits(self, count: int, n: int, rate: float) -> NDArray[np.uint8]:
        return np.packbits(self._rng.random((count, n), dtype=np.float32) < rate, axis=1)

    def _add_subject(self) -> None:
        execute = self._connection.execute
        execute("insert into tasks (name, digest, classes) values ('task', %s, %s)", (b"t" * 32, ["no", "yes"]))
        execute("insert into artifacts (sha256, kind, bytes, state) values (%s, 'test', 1, 'stored')", (b"0" * 32,))
        execute(
            "insert into image_sets (name, task_id, digest, content, n_attack, n_select, n_report, prefix, side,"
            " channels) values ('images', 1, %s, %s, %s, %s, %s, %s, 224, 3)",
            (b"i" * 32, b"0" * 32, N_ATTACK, N_OTHER, N_OTHER, PREFIX),
        )
        execute(
            "insert into comparisons (image_set_id, protocol_id, state, is_default, version)"
            " select 1, id, 'measuring', true, 1 from protocols where name = 'pgd'"
        )
        execute(
            "insert into workers (host, pid, lanes, device, code_version, torch_version)"
            " values ('here', 1, 'compute,light', 'cpu', '0', '0')"
        )

    def _add_model(self, network: int, weights: bytes) -> None:
        drawn = self._components[network - 1]
        components = {name: f"{name} {value}" for (name, _), value in zip(COMPONENTS, drawn.tolist(), strict=True)}
        family = f"family{int(drawn.sum()) % FAMILIES}"
        self._connection.execute(
            "insert into networks (digest, task_id, architecture, model_args, input_side, channels, mean, std,"
            " class_map, components, base, family, parameters, macs, weights) values"
            " (%s, 1, %s, '{}', 224, 3, '{0.5,0.5,0.5}', '{0.2,0.2,0.2}', '{0,1}', %s, %s, %s, %s, %s, %s)",
            (sha256(f"network {network}".encode()).digest(), family, json.dumps(components),
             BASES[int(drawn[0]) % len(BASES)], family, 10**6 * (1 + network % 90), 10**8 * (1 + network % 70),
             weights),
        )  # fmt: skip
        declaration = {"architecture": family, "model_args": {}, "pretrained": None, "input": None}
        self._connection.execute(
            "insert into models (task_id, network_id, source, state, declaration, checkpoint, content_sha256)"
            " values (1, %s, 'upload', 'ready', %s, %s, %s)",
            (network, json.dumps(declaration), weights, weights),
        )
        self._connection.execute(
            "insert into names (name, model_id) values (%s, currval(pg_get_serial_sequence('models', 'id')))",
            (model_name(network),),
        )

    def _raise_version(self) -> int:
        row = self._connection.execute(
            "update comparisons set version = version + 1 where id = 1 returning version"
        ).fetchone()
        assert row is not None
        return int(row[0])


def model_name(network: int) -> str:
    """Return the name of the model that has this network."""
    return f"model-{network:04}"


def ones(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many bits are set in each row."""
    return np.bitwise_count(packed).sum(axis=1, dtype=np.int64)


def _width(value: NDArray[np.uint8] | str | bytes) -> int:
    if isinstance(value, np.ndarray):
        return int(value.shape[1])
    return len(value.encode() if isinstance(value, str) else value)


__all__: Sequence[str] = ("LargeZoo", "Stack", "model_name", "ones", "stack")
