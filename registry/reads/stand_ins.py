"""What SAT an architecture that nobody has trained yet may have with a model: that of models like it, on average.

The paper's rule for teachers is about an architecture before it is trained. Its SAT can only be estimated: by the mean
over the measured models of the same architecture, or where there is none, of the same family.
"""

from dataclasses import dataclass

import numpy as np

from registry.errors import InvalidError
from registry.reads.scores import Neighbour, Obtained
from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Model, Network
from registry.tables import ModelState
from sat_engine.catalogue import CatalogueEntry

SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Untrained:
    """An architecture as a student. stand_ins: models whose mean SAT stands for its own; basis: what they share."""

    architecture: str
    base: str
    stand_ins: tuple[tuple[Model, Network], ...]
    basis: str

    @property
    def note(self) -> str:
        """What the estimate rests on."""
        names = ", ".join(model.name for model, _ in self.stand_ins[:SHOWN])
        more = f" and {len(self.stand_ins) - SHOWN} more" if len(self.stand_ins) > SHOWN else ""
        return (
            f"{self.architecture} is not trained yet: its SAT with a teacher is estimated as the mean over the models "
            f"{self.basis} ({names}{more}). How far one model stands for another is not known, so there is no interval."
        )

    def score(self, snapshot: Snapshot, teacher: Model) -> Neighbour | None:
        """The estimated score with the teacher; None where no stand-in but the teacher's own network has one."""
        there = snapshot.row(teacher)
        rows = [snapshot.position[network.id] for _, network in self.stand_ins]
        known = snapshot.cells.sat[[row for row in rows if row != there], there]
        known = known[~np.isnan(known)]
        if not len(known):
            return None
        sat = float(known.mean())
        return Neighbour(
            model=teacher.name,
            sat=sat,
            percent=float(np.exp(sat)),
            interval=None,
            percent_interval=None,
            n=0,
            fools=None,
            fooled_by=None,
            obtained=Obtained.ESTIMATED,
            direction=None,
            rung=0,
            flags=(),
        )


def stand_in_for(snapshot: Snapshot, entry: CatalogueEntry) -> Untrained:
    """The architecture with the models that stand for it; InvalidError where nothing measured is like it."""
    trusted = {
        model.network.id: (model, model.network)
        for model in reversed(snapshot.members)
        if model.network is not None and model.state is not ModelState.SUSPECT
    }
    found = sorted(trusted.values(), key=lambda each: each[0].name)
    alike = {
        f"of the architecture {entry.name}": [each for each in found if each[1].architecture == entry.name],
        f"of the family {entry.family}": [each for each in found if each[1].family == entry.family],
    }
    for basis, stand_ins in alike.items():
        base = entry.base or (stand_ins[0][1].base if stand_ins else None)
        if stand_ins and base:
            return Untrained(architecture=entry.name, base=base, stand_ins=tuple(stand_ins), basis=basis)
    raise InvalidError(
        f"no model of the architecture {entry.name} or of its family ({entry.family}) is measured in "
        f"{snapshot.comparison.name}, so its SAT cannot be estimated: register one, or name a model as the student."
    )
