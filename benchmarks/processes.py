"""Contenders in processes of their own: memory settings belong to a process, and each side comes with its own."""

import multiprocessing
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

import printing
import torch

from sat_engine.memory import keep_freed_memory

Contenders = Mapping[str, Callable[[], Any]]


class Side:
    """A process that makes contenders and runs them one at a time when it is asked to."""

    def __init__(self, make: Callable[..., Contenders], *args: Any, keep_memory: bool) -> None:
        """Start it; make(*args) runs there. keep_memory: as our workers do, else with malloc as it comes."""
        context = multiprocessing.get_context("spawn")  # no state of ours, no locks of torch's
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, args, keep_memory), daemon=True)
        self._process.start()
        self.names: list[str] = self._connection.recv()

    def result(self, name: str) -> Any:
        """Run a contender and return what it returns: tensors as arrays."""
        return self._ask("result", name)

    def seconds(self, name: str) -> float:
        """Run a contender and return its seconds."""
        found: float = self._ask("seconds", name)
        return found

    def end(self) -> None:
        """End the process and free its memory."""
        self._connection.close()
        self._process.join()

    def _ask(self, what: str, name: str) -> Any:
        self._connection.send((what, name))
        return self._connection.recv()


def _serve(connection: Connection, make: Callable[..., Contenders], args: tuple[Any, ...], keep_memory: bool) -> None:  # noqa: FBT001  # multiprocessing passes positions
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if keep_memory:
        keep_freed_memory()
    contenders = make(*args)
    connection.send(list(contenders))
    while True:
        try:
            what, name = connection.recv()
        except EOFError:
            return
        if what == "seconds":
            connection.send(printing.timed(contenders[name]))
        else:
            found = contenders[name]()
            connection.send(found.detach().cpu().numpy() if isinstance(found, torch.Tensor) else found)
