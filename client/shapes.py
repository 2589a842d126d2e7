"""The JSON that the registry answers with, as types. docs/api.md and `/docs` of a running server say what each means.

Rates, intervals and scores are plain numbers: rates from 0 to 1, `percent` from 0 to 100, `sat` the natural
logarithm of a percentage.
"""

from typing import Any, TypedDict

Interval = tuple[float, float]


class Progress(TypedDict):
    """How far one model's measuring has come."""

    stage: str
    reason: str | None
    pairs_measured: int
    pairs: int
    cells_measured: int
    cells: int
    complete: bool
    prefix_complete: bool
    fraction: float


class ModelSummary(TypedDict):
    """One row of `GET /models`."""

    name: str
    aliases: list[str]
    digest: str | None
    state: str
    failure: str | None
    concern: str | None
    architecture: str
    base: str | None
    family: str | None
    parameters: int | None
    gmacs: float | None
    accuracy: float | None
    tags: list[str]
    owner: str
    created_at: str
    deleted_at: str | None
    reference: str
    progress: Progress


class Input(TypedDict):
    """What a network is fed with."""

    size: int
    channels: int
    mean: list[float]
    std: list[float]


class Task(TypedDict):
    """A task and its number of classes."""

    name: str
    classes: int


class Share(TypedDict):
    """k of n; `correct` or `fooled` says of what."""

    n: int
    rate: float


class ModelDetail(ModelSummary):
    """`GET /models/<model>`."""

    description: str
    license: str | None
    source: str
    pretrained: str | None
    model_args: dict[str, Any]
    input: Input | None
    task: Task | None
    class_map: list[int] | None
    components: dict[str, str | None]
    accuracies: dict[str, Share | None]
    self_fooling: Share | None
    noise: Share | None
    flags: list[str]
    expected_accuracy: float | None
    numeric_path: str | None
    supersedes: str | None
    last_rung: int
    revision: int


class Neighbour(TypedDict):
    """One model as another one's neighbour."""

    model: str
    sat: float
    percent: float
    interval: Interval
    n: int
    fools: float | None
    fooled_by: float | None
    obtained: str
    direction: str | None
    rung: int
    flags: list[str]


class Similar(TypedDict):
    """`GET /similar/<model>`."""

    model: str
    comparison: str
    version: int
    missing: int
    items: list[Neighbour]
    next: str | None
    total: int


class PairRecord(TypedDict):
    """One row of `GET /pairs`; `sat` is None where no image is classified correctly by both."""

    a: str
    b: str
    sat: float | None
    percent: float | None
    interval: Interval | None
    n: int
    a_fools_b: float | None
    b_fools_a: float | None
    obtained: str
    direction: str | None
    rung: int
    flags: list[str]


class Rung(TypedDict):
    """The counts of one rung of a pair."""

    rung: int
    n: int
    a_fools_b: int | None
    b_fools_a: int | None


class Pair(TypedDict):
    """`GET /pairs/<a>/<b>`."""

    a: str
    b: str
    comparison: str
    version: int
    sat: float | None
    percent: float | None
    interval: Interval | None
    percent_interval: Interval | None
    n: int | None
    fooled: dict[str, Any]
    obtained: str | None
    direction: str | None
    rung: int | None
    flags: list[str]
    reason: str | None
    rungs: list[Rung]
    controls: dict[str, dict[str, float | None] | None]
    digests: dict[str, str | None]
    made_by: list[dict[str, Any]]


class Matrix(TypedDict):
    """`GET /matrix`; `sat[i][j]` is None where nothing is measured."""

    comparison: str
    version: int
    models: list[str]
    missing: int
    sat: list[list[float | None]]
    obtained: list[list[str | None]]


class Agreement(TypedDict):
    """`GET /agreement`; the figures are None where `reason` says why."""

    comparisons: tuple[str, str]
    versions: tuple[int, int]
    spearman: float | None
    interval: Interval | None
    p_value: float | None
    mean_difference: float | None
    difference_interval: Interval | None
    models: int | None
    of_models: int | None
    pairs: int | None
    reason: str | None


class Cluster(TypedDict):
    """One cluster and the components that set it apart."""

    cluster: int
    models: list[str]
    keywords: list[str]


class Clusters(TypedDict):
    """`GET /clusters` once computed."""

    comparison: str
    version: int
    stale: bool
    k: int
    suggested_k: int | None
    stability: float | None
    silhouette: float | None
    items: list[Cluster]
    missing: int
    failure: str | None
    left_out: list[str]


class Point(TypedDict):
    """A model's place on the map."""

    model: str
    x: float
    y: float
    base: str | None
    family: str | None


class Map(TypedDict):
    """`GET /map` once computed."""

    comparison: str
    version: int
    stale: bool
    items: list[Point]
    perplexity: float | None
    trustworthiness: float | None
    missing: int
    failure: str | None
    left_out: list[str]


class Component(TypedDict):
    """What one of the 13 components has to do with SAT."""

    component: str
    importance: float
    least: float
    most: float
    varies: bool


class Importance(TypedDict):
    """`GET /importance` once computed."""

    comparison: str
    version: int
    stale: bool
    failure: str | None
    models: int
    pairs: int
    r2_new_models: float
    r2_new_pairs: float
    r2_fit: float
    items: list[Component]
    method: str


class Member(TypedDict):
    """One member of a recommended ensemble."""

    model: str
    accuracy: float
    gain: float | None
    architecture: str
    base: str | None
    family: str | None
    parameters: int
    gmacs: float
    swaps: list[dict[str, Any]]


class Ensemble(TypedDict):
    """`GET /recommend/ensemble`."""

    comparison: str
    version: int
    n: int
    objective: str
    weight: float
    members: list[Member]
    pairs: list[dict[str, Any]]
    mean_sat: float | None
    left_out: list[dict[str, str]]
    evaluated: str
    evaluation: dict[str, Any] | None
    failure: str | None
    manifest: dict[str, Any]


class Teacher(TypedDict):
    """One suggested teacher."""

    model: str
    sat: float
    interval: Interval
    obtained: str
    base: str | None
    family: str | None
    accuracy: float
    parameters: int
    gmacs: float
    same_base: bool
    positive_flips: dict[str, Any] | None
    reason: str
    default: bool


class Teachers(TypedDict):
    """`GET /recommend/teacher`."""

    student: str
    estimated_from: list[str]
    comparison: str
    version: int
    items: list[Teacher]
    left_out: list[dict[str, str]]
    rule: str
    evidence: str
    warnings: list[str]


class ImageSet(TypedDict):
    """`GET /image-sets/<name>`."""

    name: str
    digest: str | None
    task: dict[str, Any]
    parts: dict[str, int]
    prefix: int
    seed: int
    side: int
    channels: int
    description: str


class Comparison(TypedDict):
    """One row of `GET /comparisons`."""

    name: str
    image_set: str
    protocol: str
    state: str
    default: bool
    version: int
    progress: dict[str, int]


class Job(TypedDict):
    """One row of `GET /jobs`."""

    id: int
    kind: str
    lane: str
    state: str
    model: str | None
    network: str | None
    comparison: str | None
    attempt: int
    progress: float | None
    worker: str | None
    failure: str | None


class Jobs(TypedDict):
    """`GET /jobs`."""

    items: list[Job]
    total: int
    next: str | None
    counts: dict[str, dict[str, int]]
    estimate_seconds: float | None


class Worker(TypedDict):
    """One row of `GET /workers`."""

    id: int
    host: str
    pid: int | None
    lanes: list[str]
    device: str
    code_version: str
    torch_version: str
    started_at: str
    seen_at: str
    left_at: str | None
    alive: bool
    wish: str
    precision: str | None
    device_bytes: int | None
    device_bytes_used: int | None
    leases_lost: int
    job: dict[str, Any] | None


class PlannedModel(TypedDict):
    """One of the models of a plan; `same`: the same content is there under this name; `shared`: under another one."""

    name: str
    gmacs: float
    gmacs_known: bool
    parameters: int
    last_rung: int
    present: bool
    same: bool | None
    shared: bool
    elsewhere: bool


class PlanRates(TypedDict):
    """Seconds a GMAC on one worker of the device."""

    device: str
    evaluate: float
    attack: float
    transfer: float
    measured: list[str]


class PlanCost(TypedDict):
    """Of the first images alone, or of all."""

    cells: int
    device_hours: float
    hours_by_work: dict[str, float]
    bytes: int
    bytes_by_kind: dict[str, int]
    finish_seconds: float | None
    finish_at: str | None


class RegistrationPlan(TypedDict):
    """What registering would cost."""

    comparison: str
    models: list[PlannedModel]
    against: int
    correct: float
    workers: int
    rates: PlanRates
    backlog_seconds: float | None
    also: list[str]
    rung_0: PlanCost
    total: PlanCost


class Delivery(TypedDict):
    """One row of `GET /webhooks/<webhook>/deliveries`."""

    id: int
    event: str
    payload: dict[str, Any]
    state: str
    attempt: int
    not_before: str | None
    failure: str | None
    created_at: str
    delivered_at: str | None


class Alias(TypedDict):
    """One row of `GET /aliases`."""

    alias: str
    model: str
    digest: str | None
    protected: bool


class AuditEntry(TypedDict):
    """One row of `GET /audit`."""

    id: int
    at: str
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    request_id: str | None


class Key(TypedDict):
    """One row of `GET /keys`."""

    name: str
    team: str
    scope: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class NewKey(Key):
    """The answer of `POST /keys`; `key` is None where it answers a request that was answered before."""

    key: str | None


class Identity(TypedDict):
    """The answer of `GET /session`."""

    name: str
    team: str
    scope: str


class Webhook(TypedDict):
    """One row of `GET /webhooks`; `secret` is there only when it was just made."""

    id: int
    url: str
    events: list[str]
    owner: str
    created_at: str
    waiting: int
    delivered: int
    failed: int
    last_failure: str | None
    secret: str | None
