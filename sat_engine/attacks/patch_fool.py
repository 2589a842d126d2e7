"""Patch-Fool: one patch, chosen and driven by a transformer's own attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sat_engine.attacks.draws import Draws
from sat_engine.classifier import Classifier
from sat_engine.errors import NotAttackableError, NotComputableError

_CHOOSING_BLOCK = 4  # whose attention chooses the patch, counted from 0; the last one of a shallower network
_DECAY_STEPS, _DECAY = 10, 0.95
_TINY = 1e-12
_LISTS = (nn.Sequential, nn.ModuleList)


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchFool:
    """Patch-Fool (Fu et al., 2022) with the settings of its authors' code, for networks of patches and attention.

    The patches that the fifth block attends to most start at random values, within epsilon, and are moved by Adam
    (step_size its rate, times .95 every 10 steps) to raise the cross-entropy and, weighed by `attention`, the
    attention that the blocks of the first half, but the first, pay to the first of them; an attention gradient that
    opposes the loss's is projected off it (PCGrad). Everything is an image's own, so none depends on its batch.
    """

    epsilon: float
    step_size: float
    steps: int
    patches: int
    attention: float
    draws: Draws

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return images (n, c, s, s) in [0, 1] with the chosen patches moved at most epsilon.

        Raises NotAttackableError where the network has no patches and attention of timm's kind, or too few, and
        NotComputableError where its loss has no gradient.
        """
        with _attention_of(model) as maps:
            with torch.no_grad():
                model(images)
            chosen = self._choose(model, maps)
            mask = _mask(model, chosen, images)
            low, high = (images - self.epsilon).clamp(min=0), (images + self.epsilon).clamp(max=1)
            start = (images + self.epsilon * self.draws.uniform(images, 0)).clamp(low, high)
            moved = torch.where(mask, start, images).requires_grad_()
            adam = torch.optim.Adam([moved], lr=self.step_size)
            decay = torch.optim.lr_scheduler.StepLR(adam, step_size=_DECAY_STEPS, gamma=_DECAY)
            lost = torch.zeros(len(images), dtype=torch.bool, device=images.device)
            for _ in range(self.steps):
                ascent = torch.where(mask, self._ascent(model, moved, labels, maps, chosen[:, 0]), 0)
                # an infinite one becomes ∞ / ∞ in Adam
                lost |= ~ascent.isfinite().flatten(1).all(dim=1)
                moved.grad = -ascent
                adam.step()
                decay.step()
                with torch.no_grad():
                    moved.copy_(torch.where(mask, moved.clamp(low, high), images))
        if count := int(lost.sum()):
            raise NotComputableError(
                f"the loss has no gradient (it is not a finite number) on {count} of {len(images)} images"
            )
        return moved.detach()

    def _choose(self, model: Classifier, maps: list[Tensor]) -> Tensor:
        """Return the indices (n, patches) of the patches that get most attention, most first."""
        received = maps[min(_CHOOSING_BLOCK, len(maps) - 1)].mean(dim=(1, 2))[:, _prefix(model) :]
        if self.patches > received.shape[1]:
            raise NotAttackableError(f"the protocol moves {self.patches} patches, and the network has fewer")
        return received.argsort(dim=1, descending=True, stable=True)[:, : self.patches]

    def _ascent(self, model: Classifier, images: Tensor, labels: Tensor, maps: list[Tensor], patch: Tensor) -> Tensor:
        """Return the direction (n, c, s, s) of a step: the loss's gradient, and what the attention adds to it."""
        maps.clear()
        # summed over images: a step must not depend on the batch size
        loss = functional.cross_entropy(model(images).float(), labels, reduction="sum")
        used = maps[1 : len(maps) // 2] if self.attention else []
        (gradient,) = torch.autograd.grad(loss, images, retain_graph=bool(used))
        total = gradient.clone()
        rows = torch.arange(len(images), device=images.device)
        for index, attended in enumerate(used):
            # (n, heads, queries, keys): the mean log attention that all tokens pay to the patch
            paid = attended.mean(dim=1)[rows, :, patch + _prefix(model)].log().mean(dim=1).sum()
            (pull,) = torch.autograd.grad(paid, images, retain_graph=index + 1 < len(used))
            total += self.attention * _off(pull, gradient)
        return total


def _off(pull: Tensor, gradient: Tensor) -> Tensor:
    """Return pull (n, …) without its part along gradient where the two oppose (PCGrad; Yu et al., 2020)."""
    one, other = pull.flatten(1), gradient.flatten(1)
    along = (one * other).sum(dim=1, keepdim=True)
    off = one - along.clamp(max=0) / (other * other).sum(dim=1, keepdim=True).clamp(min=_TINY) * other
    return off.view_as(pull)


def _prefix(model: Classifier) -> int:
    """Return how many tokens, such as the class token, stand before the patches'."""
    return int(getattr(model.network, "num_prefix_tokens", 0))


def _mask(model: Classifier, chosen: Tensor, images: Tensor) -> Tensor:
    """Return where (n, 1, s, s) the chosen patches (n, k) are."""
    rows, columns = _grid(model)
    flags = torch.zeros(len(chosen), rows * columns, dtype=torch.float32, device=images.device)
    flags.scatter_(1, chosen, 1)
    return functional.interpolate(flags.view(-1, 1, rows, columns), size=images.shape[-2:], mode="nearest") > 0


def _grid(model: Classifier) -> tuple[int, int]:
    embed: Any = getattr(model.network, "patch_embed", None)
    rows, columns = embed.grid_size
    return int(rows), int(columns)


@contextmanager
def _attention_of(model: Classifier) -> Iterator[list[Tensor]]:
    """Yield a list to which every forward of the model adds each block's attention (n, heads, queries, keys)."""
    layers = _attention_layers(model)
    maps: list[Tensor] = []
    fused = [layer.fused_attn for layer in layers]
    hooks = [layer.attn_drop.register_forward_hook(partial(_keep, maps)) for layer in layers]
    try:
        for layer in layers:
            layer.fused_attn = False  # fused kernels never write the attention down
        yield maps
    finally:
        for layer, was in zip(layers, fused, strict=True):
            layer.fused_attn = was
        for hook in hooks:
            hook.remove()


def _attention_layers(model: Classifier) -> list[Any]:
    """Return the attention of each block of a timm vision transformer whose tokens are the image's patches."""
    blocks = getattr(model.network, "blocks", None)
    layers = [getattr(block, "attn", None) for block in blocks] if isinstance(blocks, _LISTS) else []
    sound = layers and all(hasattr(layer, "fused_attn") and hasattr(layer, "attn_drop") for layer in layers)
    if not sound or getattr(getattr(model.network, "patch_embed", None), "grid_size", None) is None:
        raise NotAttackableError(
            "Patch-Fool attacks networks that cut images into patches and attend to all of them at once (timm's "
            "vision transformers), and this is none; compare it by another protocol"
        )
    return layers


def _keep(maps: list[Tensor], _module: nn.Module, arguments: tuple[Tensor, ...], _output: Tensor) -> None:
    maps.append(arguments[0])
