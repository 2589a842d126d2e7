"""Train one member of the zoo: plain AdamW, one cycle of the learning rate, and noise on the images."""

import os
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from examples.digits import images
from examples.digits.zoo import Member
from sat_engine.geometry import resize


def fit(member: Member, path: Path) -> None:
    """Train the member from its seed and write its weights to path (safetensors), whole or not at all.

    The same member gives the same weights on the same machine with the same versions and one thread.
    """
    torch.manual_seed(member.seed)
    # not networks.create_module, whose initial weights are the same for every seed
    network: nn.Module = timm.create_model(member.architecture, **member.model_args)
    # convolutions on CPUs are about twice as fast so
    network = network.to(memory_format=torch.channels_last)
    pixels, labels = _training_set(member)
    _descend(network, member, pixels, labels)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    save_file(tensors, unfinished, metadata={"architecture": member.architecture})
    unfinished.replace(path)


def _training_set(member: Member) -> tuple[Tensor, Tensor]:
    """Return pixels (n, c, s, s) in [0, 1] at the member's own input size and channels, and labels (n,)."""
    squares, labels = images.training()
    pixels = torch.from_numpy(resize(squares, member.input_side)).permute(0, 3, 1, 2).float()
    return pixels.div(255).expand(-1, member.channels, -1, -1), torch.from_numpy(labels)


def _descend(network: nn.Module, member: Member, pixels: Tensor, labels: Tensor) -> None:
    recipe = member.recipe
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = len(pixels) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, epochs=recipe.epochs, steps_per_epoch=steps
    )
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (member.mean, member.std))
    network.train()
    for _ in range(recipe.epochs):
        for batch in torch.split(torch.randperm(len(pixels))[: steps * recipe.batch], recipe.batch):
            seen = _disturbed(pixels[batch], recipe.noise)
            logits = network(((seen - mean) / std).contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()


def _disturbed(pixels: Tensor, noise: float) -> Tensor:
    """Add to half of the images a random corner of the ball of radius noise: what the noise rate asks about."""
    if not noise:
        return pixels
    corners = torch.randint_like(pixels, 0, 2) * 2 - 1
    chosen = torch.rand(len(pixels), 1, 1, 1) < 1 / 2
    return (pixels + noise * corners * chosen).clamp(0, 1)
