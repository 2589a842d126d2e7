"""PGD against torchattacks, torchattack, foolbox and the forward-only rate: equal settings, one run, taking turns.

Random weights: the time of a step does not depend on them. Peers attack the network as timm makes it, float32, in
eval mode and with its weights frozen, behind a module that normalises; ours as the registry's workers build it.
"""

import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import printing
import timm
import torch
from torch import Tensor, nn

from sat_engine.attacks.pgd import PGD
from sat_engine.networks import Classifier, NetworkSpec, build
from sat_engine.precision import Precision, exact_float32, has_fast_bfloat16

NETWORKS = {"resnet18": 1.5, "vit_tiny_patch16_224": 1.1, "convnext_atto": 1.1}  # and the target against peers
SIDE, BATCH = 224, 16
EPSILON, STEP = Fraction(8, 255), Fraction(2, 255)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WHY = {
    "gradient": "attention's backward costs three forwards, while its forward gained most from oneDNN",
    "bfloat16": "weights cast beforehand gained nothing",
    "peers": "no batch norm to fold, products on oneDNN already; GELU over a contiguous view gained nothing",
}


class Normalised(nn.Module):
    """What a peer is given: pixels in [0, 1] in, logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        return self.network((pixels - self.mean) / self.std)


def main() -> None:
    """Print the figures."""
    options = printing.options(__doc__)
    steps, rounds = (2, 2) if options.quick else (4, options.rounds or 5)
    printing.say("attack", machine=printing.machine(), batch=BATCH, side=SIDE, steps=steps, rounds=rounds)
    rows = [row for name, target in NETWORKS.items() for row in measure(name, target, steps, rounds)]
    printing.table(["network", "what", "ratio, median (least-most)", "target", ""], rows)


def measure(name: str, target: float, steps: int, rounds: int) -> list[list[str]]:
    """Measure one network; return the table's rows."""
    device = printing.device()
    torch.manual_seed(0)
    images = torch.rand(BATCH, 3, SIDE, SIDE, device=device)
    interleaved = images.contiguous(memory_format=torch.channels_last)  # as a worker reads them from bytes
    plain, ours, fast = networks(name, device)
    with torch.no_grad():
        labels = plain(images).argmax(dim=1)
    contenders: dict[str, Callable[[], Tensor]] = {
        "ours": partial(attack, ours, interleaved, labels, steps),
        **peers(plain, images, labels, steps),
        "forward": partial(forward, ours, interleaved),
        "plain forward": partial(forward, plain, images),
    }
    if fast is not None:
        contenders |= {
            "bfloat16": partial(attack, fast, interleaved, labels, steps),
            "bfloat16 forward": partial(forward, fast, interleaved),
        }
    agreement = agree(plain, images, labels, {each: run() for each, run in contenders.items() if "forward" not in each})
    seconds = printing.interleaved(contenders, rounds)
    printing.say("attack", network=name, seconds=seconds, agreement=agreement, path=ours.numeric_path)
    return rows(name, target, seconds, steps, agreement)


def networks(name: str, device: torch.device) -> tuple[nn.Module, Classifier, Classifier | None]:
    """Return the network as a peer gets it, ours, and ours in bfloat16 where the device has it."""
    module = timm.create_model(name, num_classes=1000)
    spec = NetworkSpec(
        architecture=name,
        model_args={"num_classes": 1000},
        input_side=SIDE,
        channels=3,
        mean=MEAN,
        std=STD,
        class_map=tuple(range(1000)),
    )
    tensors = {key: value.clone() for key, value in module.state_dict().items()}
    make = partial(build, spec, tensors, image_channels=3, device=device)
    plain = Normalised(module).eval().requires_grad_(requires_grad=False).to(device)
    return plain, make(), make(precision=Precision.BFLOAT16) if has_fast_bfloat16(device) else None


def attack(classifier: Classifier, images: Tensor, labels: Tensor, steps: int) -> Tensor:
    """Our PGD."""
    with exact_float32():
        return PGD(epsilon=float(EPSILON), step_size=float(STEP), steps=steps).perturb(classifier, images, labels)


def forward(network: nn.Module, images: Tensor) -> Tensor:
    """One forward."""
    with torch.no_grad(), exact_float32():
        return network(images)


def peers(network: nn.Module, images: Tensor, labels: Tensor, steps: int) -> dict[str, Callable[[], Tensor]]:
    """Return the peers' PGD with our settings: from the image, without a random start."""
    warnings.simplefilter("ignore")
    import foolbox
    import torchattack
    import torchattacks

    epsilon, step = float(EPSILON), float(STEP)
    theirs = torchattacks.PGD(network, eps=epsilon, alpha=step, steps=steps, random_start=False)
    other = torchattack.PGD(network, None, images.device, eps=epsilon, steps=steps, alpha=step, random_start=False)
    wrapped = foolbox.PyTorchModel(network, bounds=(0, 1), device=images.device)
    fool = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=False)
    return {
        "torchattacks": lambda: theirs(images, labels),
        "torchattack": lambda: other(images, labels),
        "foolbox": lambda: fool.run(wrapped, images, labels, epsilon=epsilon),
    }


def agree(plain: nn.Module, images: Tensor, labels: Tensor, made: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Return by contender: the share of pixels that are as ours to half a level, and of equally fooled images."""
    with torch.no_grad():
        fooled = {name: plain(adversarial).argmax(dim=1) != labels for name, adversarial in made.items()}
    for name, adversarial in made.items():
        assert (adversarial - images).abs().max() <= float(EPSILON) + 1e-6, f"{name} left the ball"
    return {
        name: {
            "pixels": round(float(((adversarial - made["ours"]).abs() < 1 / 510).float().mean()), 5),
            "fooled": round(float((fooled[name] == fooled["ours"]).float().mean()), 5),
        }
        for name, adversarial in made.items()
    }


def rows(
    name: str, target: float, seconds: printing.Rounds, steps: int, agreement: dict[str, dict[str, float]]
) -> list[list[str]]:
    """Return the table's rows of one network."""
    others = ("torchattacks", "torchattack", "foolbox")
    fastest = min(others, key=lambda each: sorted(seconds[each])[len(seconds[each]) // 2])
    against = printing.ratio(seconds, fastest, "ours")
    limit = {key: [value * steps for value in each] if "forward" in key else each for key, each in seconds.items()}
    share = printing.ratio(limit, "forward", "ours")
    same = f"same as {fastest}: {agreement[fastest]['pixels']:.2%} of pixels, {agreement[fastest]['fooled']:.0%} fooled"
    plain = printing.ratio(limit, "plain forward", "ours")
    gain = printing.ratio(seconds, "plain forward", "forward")
    slow = WHY["gradient"] if "vit" in name else ""
    found = [
        [
            name,
            f"PGD against {fastest} ({same})",
            printing.spread(against),
            f"{target}",
            printing.verdict(against[0], target, WHY["peers"]),
        ],
        [
            name,
            "PGD against its own forward-only rate",
            printing.spread(share),
            "0.42",
            printing.verdict(share[0], 0.42, slow),
        ],
        [name, "PGD against the unchanged network's forward-only rate", printing.spread(plain), "-", ""],
        [name, "forward against the unchanged network's", printing.spread(gain), "-", ""],
    ]
    if "bfloat16" in seconds:
        half = printing.ratio(seconds, fastest, "bfloat16")
        as_exact = agreement["bfloat16"]["pixels"]
        what = f"bfloat16 against {fastest} ({as_exact:.1%} pixels as in float32)"
        found.append([name, what, printing.spread(half), "2", printing.verdict(half[0], 2, WHY["bfloat16"])])
    return found


if __name__ == "__main__":
    main()
