"""A network to load weights into: made quickly, since every parameter comes from the checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sat_engine.errors import ArchitectureError


def make_outline(constructor: Callable[[], nn.Module]) -> nn.Module:
    """Return what constructor makes, for the names and shapes of its tensors alone: on the meta device where possible.

    A stranger's build arguments may ask for tables of gigabytes; those are made once the names are known to fit.
    """
    try:
        with _Uninitialised(), torch.device("meta"):
            return constructor()
    except ArchitectureError:
        with _Uninitialised():
            return constructor()


def make_skeleton(constructor: Callable[[], nn.Module], *, real: bool = False) -> tuple[nn.Module, bool]:
    """Return what constructor makes, its parameters without values, and whether it had to be made with real tensors.

    On the meta device where that is possible, or not at all with real. A checkpoint brings no non-persistent buffers
    (Swin has 17) nor plain tensor attributes: networks with such are made for real, and so are those whose
    constructors compute with their tensors, which meta ones refuse.
    """
    if not real:
        try:
            with _Uninitialised(), torch.device("meta"):
                module = constructor()
        except ArchitectureError:
            real = True
        else:
            real = _holds_unsaved_tensors(module)
    if real:
        with _Uninitialised():
            module = constructor()
    return module, real


class _Uninitialised(TorchFunctionMode):
    """Leave parameters unset: drawing their first values is most of a network's construction, and all are replaced."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        subject = args[0] if args else kwargs.get("tensor")
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.startswith("_") and name != "requires_grad_"
        # buffers are no parameters, and are computed
        return subject if in_place and isinstance(subject, nn.Parameter) else func(*args, **kwargs)


def _holds_unsaved_tensors(module: nn.Module) -> bool:
    saved = set(module.state_dict(keep_vars=True))
    unsaved_buffer = any(name not in saved for name, _ in module.named_buffers())
    return unsaved_buffer or any(
        isinstance(value, Tensor) for part in module.modules() for value in vars(part).values()
    )
