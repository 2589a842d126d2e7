"""GET /recommend/ensemble and GET /recommend/teacher."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from api.analyses import Wait, ask, latest
from api.cache import Body, make_body
from api.reads import Reads, ReadsOf
from api.schemas.base import Problem
from api.schemas.ensembles import Ensemble, Evaluated
from api.schemas.teachers import Teachers
from registry.analyses import is_fresh
from registry.errors import NotReadyError
from registry.reads.ensembles import Choice, EnsembleQuery, choose_ensemble
from registry.reads.snapshot import Snapshot
from registry.reads.teachers import advise_teacher
from registry.tables import AnalysisKind
from sat_engine.ensembles import Objective

router = APIRouter(prefix="/recommend", tags=["recommendations"])
Names = Annotated[list[str] | None, Query(description="Names, aliases or digests; repeated or separated by commas.")]


async def ensemble_query(
    *,
    n: Annotated[int, Query(ge=1, le=50, description="Members.")] = 5,
    objective: Annotated[Objective, Query(description="What it is chosen for.")] = Objective.BLEND,
    weight: Annotated[float, Query(ge=0, le=1, description="Of accuracy in `blend`; the rest is diversity.")] = 0.5,
    include: Names = None,
    exclude: Names = None,
    min_accuracy: Annotated[float | None, Query(ge=0, le=1, description="Of each member.")] = None,
    max_parameters: Annotated[int | None, Query(gt=0, le=10**15, description="Of all members together.")] = None,
    max_gmacs: Annotated[float | None, Query(gt=0, le=1e9, description="Of all members together, an image.")] = None,
    max_per_family: Annotated[int | None, Query(ge=1, description="Members of one family.")] = None,
    max_per_cluster: Annotated[
        int | None, Query(ge=1, description="Members of one cluster of GET /clusters (as many as fit best).")
    ] = None,
) -> EnsembleQuery:
    """What is asked for."""
    return EnsembleQuery(
        n=n,
        objective=objective,
        weight=weight,
        include=_split(include),
        exclude=_split(exclude),
        min_accuracy=min_accuracy,
        max_parameters=max_parameters,
        max_gmacs=max_gmacs,
        max_per_family=max_per_family,
        max_per_cluster=max_per_cluster,
    )


@router.get(
    "/ensemble",
    response_model=Ensemble,
    summary="Models to combine",
    responses={status: {"model": Problem} for status in (409, 429)},
)
async def recommend_ensemble(
    reads: ReadsOf, query: Annotated[EnsembleQuery, Depends(ensemble_query)], wait: Wait = 2.0
) -> Response:
    """Members at once; what they are worth on images that choosing never read follows from a light job."""
    cluster_of = None if query.max_per_cluster is None else await _clusters(reads, wait)
    choice = await reads.use(lambda snapshot: choose_ensemble(snapshot, query, cluster_of))
    evaluated, result, failure = await _evaluate(reads, choice, wait)
    answer = Ensemble.of(choice, query.objective, evaluated=evaluated, result=result, failure=failure)
    body: Body = make_body(answer.model_dump_json().encode())
    # newer clusters raise no version
    if evaluated == "done" and cluster_of is None:
        reads.keep(body, choice.snapshot)
    return body.respond(reads.request)


@router.get("/teacher", response_model=Teachers, summary="Models to learn from")
async def recommend_teacher(
    reads: ReadsOf,
    student: Annotated[
        str,
        Query(
            description="A model's name, alias, or `@<network digest>`; or an architecture, still to be trained.",
            examples=["resnet-a"],
        ),
    ],
    k: Annotated[int, Query(ge=1, le=200, description="How many.")] = 5,
) -> Response:
    """Teachers by the paper's rule, with its guards and the strength of its evidence."""

    def read(snapshot: Snapshot) -> Teachers:
        return Teachers.of(advise_teacher(snapshot, student, k=k), snapshot)

    return await reads.answer(read)


async def _clusters(reads: Reads, wait: float) -> Mapping[int, int]:
    """The cluster of each network, of the newest clustering; NotReadyError while there is none."""
    snapshot = await reads.snapshot()
    found = await latest(reads, snapshot, AnalysisKind.CLUSTERS, {"k": None}, what="clusters", wait=wait)
    if found.row.result is None:
        reason = found.row.failure or "a worker is computing them: ask again in a moment."
        raise NotReadyError(f"max_per_cluster needs the clusters: {reason}")
    return dict(zip(found.row.result["networks"], found.row.result["labels"], strict=True))


async def _evaluate(reads: Reads, choice: Choice, wait: float) -> tuple[Evaluated, dict[str, Any] | None, str | None]:
    comparison = choice.snapshot.comparison
    if not (comparison.n_select and comparison.n_report):
        return "failed", None, f"image set {comparison.image_set!r} has no select or no report part to judge it on."
    row = await ask(reads, choice.snapshot, AnalysisKind.ENSEMBLE, choice.question, wait=wait)
    if not is_fresh(row, comparison.version):
        return "pending", None, None
    return ("failed", None, row.failure) if row.result is None else ("done", row.result, None)


def _split(names: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for each in names or () for name in each.split(",") if name.strip())
