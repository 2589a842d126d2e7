"""Ensembles as the API shows them."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, Literal, Self

from pydantic import Field

from api.schemas.base import GIGA, Answer
from registry.reads.ensembles import Choice
from registry.reads.zoo import Model, Network
from sat_engine.ensembles import Objective

Evaluated = Literal["pending", "done", "failed"]


class Swap(Answer):
    """Another model in a member's place, and what that costs."""

    model: str
    loss: float


class Member(Answer):
    """A chosen model."""

    model: str
    accuracy: float
    gain: float = Field(description="What the ensemble's value owes to it: accuracy's share less its pairs' share.")
    architecture: str
    base: str | None
    family: str | None
    parameters: int
    gmacs: float
    swaps: list[Swap]


class MemberPair(Answer):
    """The score between two members."""

    a: str
    b: str
    sat: float


class LeftOut(Answer):
    """A model that could not be considered."""

    model: str
    reason: str


class MemberTop1(Answer):
    """A member by itself, on the report part."""

    model: str
    top1: float


class Judged(Answer):
    """An ensemble on the report part."""

    models: list[str]
    top1: float
    top1_interval: tuple[float, float]
    error_reduction_rate: float
    all_wrong: float


class BestSingle(Answer):
    """The most accurate model on the select part, on the report part."""

    model: str
    top1: float


class RandomDraws(Answer):
    """Random ensembles of the same size."""

    draws: int
    mean_top1: float
    sd_top1: float


class Baselines(Answer):
    """What one would have taken without SAT, chosen on the select part."""

    best_single: BestSingle
    top_n_by_accuracy: Judged
    random: RandomDraws
    greedy_forward: Judged


class Combined(Answer):
    """An ensemble whose members' outputs are combined in one way, on the report part."""

    n: int
    top1: float
    top1_interval: tuple[float, float]
    error_reduction_rate: float = Field(description="1 - error / mean error of the members.")
    all_wrong: float = Field(description="Share of the images that every member gets wrong.")
    members: list[MemberTop1]
    baselines: Baselines


class Evaluation(Combined):
    """What the ensemble is worth on the report part, which choosing never reads; by the mean of logits."""

    part: Literal["report"] = "report"
    probabilities: Combined = Field(description="The same by the mean of probabilities.")


class ManifestMember(Answer):
    """What a serving system needs to load a member."""

    model: str
    digest: str
    architecture: str
    model_args: dict[str, Any]
    input: dict[str, Any]
    class_map: list[int] = Field(description="The output that stands for each class of the task.")
    checkpoint: str


class Manifest(Answer):
    """What a serving system needs."""

    combine: Literal["mean-of-logits"] = "mean-of-logits"
    members: list[ManifestMember]
    parameters: int
    gmacs: float


class Ensemble(Answer):
    """A recommended ensemble."""

    comparison: str
    version: int
    n: int
    objective: Objective
    weight: float
    members: list[Member]
    pairs: list[MemberPair]
    mean_sat: float | None
    left_out: list[LeftOut]
    evaluated: Evaluated
    evaluation: Evaluation | None
    failure: str | None = Field(description="Why it could not be evaluated.")
    manifest: Manifest

    @classmethod
    def of(
        cls,
        choice: Choice,
        objective: Objective,
        *,
        evaluated: Evaluated,
        result: Mapping[str, Any] | None,
        failure: str | None,
    ) -> Self:
        """The ensemble as it is shown; result is the analysis's, None unless it is done."""
        ensemble, comparison = choice.ensemble, choice.snapshot.comparison
        names = [model.name for model, _ in choice.members]
        return cls(
            comparison=comparison.name,
            version=comparison.version,
            n=len(names),
            objective=objective,
            weight=ensemble.weight,
            members=_members(choice),
            pairs=[
                MemberPair(a=names[i], b=names[j], sat=float(ensemble.pairwise_sat[i, j]))
                for i, j in combinations(range(len(names)), 2)
            ],
            mean_sat=ensemble.mean_sat,
            left_out=[LeftOut(model=each.id, reason=each.reason) for each in choice.left_out],
            evaluated=evaluated,
            evaluation=None if result is None else _Worth(choice, result).evaluation(),
            failure=failure,
            manifest=Manifest(
                members=[_manifest_member(model, network) for model, network in choice.members],
                parameters=sum(network.parameters for _, network in choice.members),
                gmacs=sum(network.macs for _, network in choice.members) / GIGA,
            ),
        )


def _members(choice: Choice) -> list[Member]:
    return [
        Member(
            model=model.name,
            accuracy=member.accuracy,
            gain=member.gain,
            architecture=network.architecture,
            base=network.base,
            family=network.family,
            parameters=network.parameters,
            gmacs=network.macs / GIGA,
            swaps=[Swap(model=swap.id, loss=-swap.value_change) for swap in member.swaps],
        )
        for member, (model, network) in zip(choice.ensemble.members, choice.members, strict=True)
    ]


def _manifest_member(model: Model, network: Network) -> ManifestMember:
    return ManifestMember(
        model=model.name,
        digest=network.digest,
        architecture=network.architecture,
        model_args=dict(network.model_args),
        input={
            "size": network.input_side,
            "channels": network.channels,
            "mean": list(network.mean),
            "std": list(network.std),
        },
        class_map=list(network.class_map),
        checkpoint=f"/models/{model.name}/checkpoint",
    )


class _Worth:
    """Turns an analysis's result, which speaks of networks by id, into names (registry/analyses.py has its shape)."""

    def __init__(self, choice: Choice, result: Mapping[str, Any]) -> None:
        self._choice = choice
        self._result = result
        self._names = {model.network.id: model.name for model in reversed(choice.snapshot.members) if model.network} | {
            network.id: model.name for model, network in choice.members
        }

    def evaluation(self) -> Evaluation:
        by_logits = self._combined(self._result["logits"])
        return Evaluation(**by_logits.__dict__, probabilities=self._combined(self._result["probabilities"]))

    def _combined(self, judged: Mapping[str, Any]) -> Combined:
        worth, who = judged["ensemble"], self._result["baselines"]
        top1 = dict(zip(self._choice.question["members"], worth["member_top1"], strict=True))
        return Combined(
            n=worth["n"],
            top1=worth["top1"],
            top1_interval=worth["interval"],
            error_reduction_rate=worth["error_reduction_rate"],
            all_wrong=worth["all_wrong"],
            members=[MemberTop1(model=model.name, top1=top1[network.id]) for model, network in self._choice.members],
            baselines=Baselines(
                best_single=BestSingle(model=self._name(who["best_single"]), top1=judged["best_single"]["top1"]),
                top_n_by_accuracy=self._judged(who["most_accurate"], judged["most_accurate"]),
                random=RandomDraws(
                    draws=judged["random"]["draws"],
                    mean_top1=judged["random"]["top1_mean"],
                    sd_top1=judged["random"]["top1_sd"],
                ),
                greedy_forward=self._judged(who["forward"], judged["forward"]),
            ),
        )

    def _judged(self, networks: list[int], worth: Mapping[str, Any]) -> Judged:
        return Judged(
            models=[self._name(network) for network in networks],
            top1=worth["top1"],
            top1_interval=worth["interval"],
            error_reduction_rate=worth["error_reduction_rate"],
            all_wrong=worth["all_wrong"],
        )

    def _name(self, network: int) -> str:
        return self._names.get(network, f"network {network}")
