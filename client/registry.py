"""A registry over HTTP: one method a route.

    with Registry("http://127.0.0.1:8000") as registry:
        for model in registry.models(state="ready"):
            print(model["name"], model["accuracy"])

Answers are the registry's JSON, typed in client/shapes.py. Every read takes `image_set` and `protocol` where a
comparison other than the default one is meant. Every method raises RegistryError with the registry's own sentence,
or UnreachableError. What each method does stands with its plan in client/routes/; client/async_registry.py has the
same methods to await.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from client.plans import Items, Plan
from client.routes import Routes
from client.transport import Transport

P = ParamSpec("P")
T = TypeVar("T")


class Connection:
    """A connection pool and the plans of what can be asked over it."""

    def __init__(
        self, url: str, *, key: str | None = None, first_wait_seconds: float = 0.2, hurry: bool = False
    ) -> None:
        """Open nothing yet.

        key: an API key, where the registry wants one. first_wait_seconds: before a failed request is first repeated.
        hurry: nothing is repeated, and an answer that takes a second is none.
        """
        self.url = url.rstrip("/")
        self._transport = Transport(self.url, key=key, first_wait_seconds=first_wait_seconds, hurry=hurry)
        self._routes = Routes(self._transport.exchanges)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


def _result(plan: Callable[Concatenate[Any, P], Plan[T]]) -> Callable[Concatenate[Connection, P], T]:
    """Return a method that carries the plan out and returns its result."""

    @wraps(plan)
    def call(self: Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._transport.run(plan(self._routes, *args, **kwargs))

    return call


def _items(plan: Callable[Concatenate[Any, P], Items[T]]) -> Callable[Concatenate[Connection, P], Iterator[T]]:
    """Return a method that carries the plan out as far as its items are asked for."""

    @wraps(plan)
    def call(self: Connection, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._transport.iterate(plan(self._routes, *args, **kwargs))

    return call


class Registry(Connection):
    """A synchronous client; close it, or use it as a context manager."""

    models = _items(Routes.models)
    model = _result(Routes.model)
    register = _result(Routes.register)
    change_model = _result(Routes.change_model)
    checkpoint = _result(Routes.checkpoint)
    card = _result(Routes.card)
    delete_model = _result(Routes.delete_model)
    restore_model = _result(Routes.restore_model)
    retry = _result(Routes.retry)
    model_events = _items(Routes.model_events)
    events = _items(Routes.events)

    aliases = _items(Routes.aliases)
    set_alias = _result(Routes.set_alias)
    delete_alias = _result(Routes.delete_alias)
    audit = _items(Routes.audit)
    webhooks = _items(Routes.webhooks)
    create_webhook = _result(Routes.create_webhook)
    deliveries = _items(Routes.deliveries)
    delete_webhook = _result(Routes.delete_webhook)

    similar = _result(Routes.similar)
    pairs = _items(Routes.pairs)
    pair = _result(Routes.pair)
    matrix = _result(Routes.matrix)
    matrix_csv = _result(Routes.matrix_csv)
    matrix_file = _result(Routes.matrix_file)
    clusters = _result(Routes.clusters)
    map = _result(Routes.map)
    importance = _result(Routes.importance)
    agreement = _result(Routes.agreement)
    ensemble = _result(Routes.ensemble)
    teacher = _result(Routes.teacher)

    image_sets = _items(Routes.image_sets)
    image_set = _result(Routes.image_set)
    create_image_set = _result(Routes.create_image_set)
    image_set_content = _result(Routes.image_set_content)
    protocols = _items(Routes.protocols)
    attacks = _result(Routes.attacks)
    create_protocol = _result(Routes.create_protocol)
    comparisons = _items(Routes.comparisons)
    comparison = _result(Routes.comparison)
    compare = _result(Routes.compare)
    jobs = _result(Routes.jobs)
    all_jobs = _items(Routes.all_jobs)
    workers = _items(Routes.workers)
    worker = _result(Routes.worker)
    change_worker = _result(Routes.change_worker)
    plan = _result(Routes.plan)
    ready = _result(Routes.ready)

    keys = _items(Routes.keys)
    create_key = _result(Routes.create_key)
    revoke_key = _result(Routes.revoke_key)
    identity = _result(Routes.identity)

    collect_garbage = _result(Routes.collect_garbage)
    doctor = _result(Routes.doctor)
    verify = _result(Routes.verify)
