"""PGD against torchattacks, torchattack, foolbox and the forward-only rate: equal settings, one run, taking turns.

Random weights: the time of a step does not depend on them. Peers attack the network as timm makes it, float32, in
eval mode and with its weights frozen, behind a module that normalises; ours as the registry's workers build it. Each
side has a process: ours keeps freed memory, as a worker does; peers run with malloc as it comes, and once more as ours.
"""

import statistics
import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import printing
import timm
import torch
from processes import Side
from torch import Tensor, nn

from sat_engine.attacks.pgd import PGD
from sat_engine.networks import Classifier, NetworkSpec, build
from sat_engine.precision import Precision, exact_float32, has_bfloat16

NETWORKS = {"resnet18": 1.5, "vit_tiny_patch16_224": 1.1, "convnext_atto": 1.1}  # and the target against peers
SIDE, BATCH = 224, 16
EPSILON, STEP = Fraction(8, 255), Fraction(2, 255)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PEERS = ("torchattacks", "torchattack", "foolbox")
KEPT = " with our memory setting"


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
    ours = Side(our_contenders, name, steps, keep_memory=True)
    theirs = {
        "": Side(their_contenders, name, steps, keep_memory=False),
        KEPT: Side(their_contenders, name, steps, keep_memory=True),
    }
    made = {each: ours.result(each) for each in ours.names if "forward" not in each}
    made |= {each: theirs[""].result(each) for each in theirs[""].names if "forward" not in each}
    agreement = agree(name, {each: torch.from_numpy(found) for each, found in made.items()})
    contenders = {each: partial(ours.seconds, each) for each in ours.names}
    for suffix, side in theirs.items():
        contenders |= {each + suffix: partial(side.seconds, each) for each in side.names}
    for contender in contenders.values():
        contender()  # so that each process has the memory that it keeps
    seconds = printing.interleaved(contenders, rounds)
    for side in (ours, *theirs.values()):
        side.end()
    printing.say("attack", network=name, seconds=seconds, agreement=agreement)
    return rows(name, target, seconds, steps, agreement)


def setting(name: str) -> tuple[Tensor, Tensor, nn.Module]:
    """Return images, what the network as timm makes it says of them, and that network: the same in every process."""
    torch.manual_seed(0)
    images = torch.rand(BATCH, 3, SIDE, SIDE, device=printing.device())
    plain = Normalised(timm.create_model(name, num_classes=1000)).eval().requires_grad_(requires_grad=False)
    plain.to(images.device)
    return images, forward(plain, images).argmax(dim=1), plain


def our_contenders(name: str, steps: int) -> dict[str, Callable[[], Tensor]]:
    """Return our PGD and forward, in bfloat16 too where the device has it."""
    images, labels, plain = setting(name)
    interleaved = images.contiguous(memory_format=torch.channels_last)  # as a worker reads them from bytes
    ours, fast = networks(name, plain.network)
    found = {"ours": partial(attack, ours, interleaved, labels, steps), "forward": partial(forward, ours, interleaved)}
    if fast is not None:
        found |= {
            "bfloat16": partial(attack, fast, interleaved, labels, steps),
            "bfloat16 forward": partial(forward, fast, interleaved),
        }
    return found


def their_contenders(name: str, steps: int) -> dict[str, Callable[[], Tensor]]:
    """Return the peers' PGD, and the forward of the network that they get."""
    images, labels, plain = setting(name)
    return {**peers(plain, images, labels, steps), "plain forward": partial(forward, plain, images)}


def networks(name: str, module: nn.Module) -> tuple[Classifier, Classifier | None]:
    """Return the network as a worker builds it, and in bfloat16 where the device has it."""
    spec = NetworkSpec(
        architecture=name,
        model_args={"num_classes": 1000},
        input_side=SIDE,
        channels=3,
        mean=MEAN,
        std=STD,
        class_map=tuple(range(1000)),
    )
    device = printing.device()
    tensors = {key: value.clone() for key, value in module.state_dict().items()}
    make = partial(build, spec, tensors, image_channels=3, device=device)
    return make(), make(precision=Precision.BFLOAT16) if has_bfloat16(device) else None


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


def agree(name: str, made: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Return by contender: the share of pixels that are as ours to half a level, and of equally fooled images."""
    images, labels, plain = setting(name)
    fooled = {each: forward(plain, found.to(images.device)).argmax(dim=1) != labels for each, found in made.items()}
    images = images.cpu()
    for each, adversarial in made.items():
        assert (adversarial - images).abs().max() <= float(EPSILON) + 1e-6, f"{each} left the ball"
    return {
        each: {
            "pixels": round(float(((adversarial - made["ours"]).abs() < 1 / 510).float().mean()), 5),
            "fooled": round(float((fooled[each] == fooled["ours"]).float().mean()), 5),
        }
        for each, adversarial in made.items()
    }


def rows(
    name: str, target: float, seconds: printing.Rounds, steps: int, agreement: dict[str, dict[str, float]]
) -> list[list[str]]:
    """Return the table's rows of one network."""
    fastest = min(PEERS, key=lambda each: statistics.median(seconds[each]))
    fastest_kept = min((each + KEPT for each in PEERS), key=lambda each: statistics.median(seconds[each]))
    step = {each: [value / steps for value in values] for each, values in seconds.items() if "forward" not in each}
    each_pass = {**seconds, **step}
    same = f"same as {fastest}: {agreement[fastest]['pixels']:.2%} of pixels, {agreement[fastest]['fooled']:.0%} fooled"
    asked = [
        (f"PGD against {fastest} as it comes ({same})", (fastest, "ours"), target),
        (f"PGD against {fastest_kept}", (fastest_kept, "ours"), None),
        ("PGD against its own forward-only rate", ("forward", "ours"), 0.42),
        ("PGD against the unchanged network's forward-only rate", ("plain forward", "ours"), None),
        ("forward against the unchanged network's", ("plain forward", "forward"), None),
    ]
    if "bfloat16" in seconds:
        exact = f"{agreement['bfloat16']['pixels']:.1%} pixels as in float32"
        asked.append((f"bfloat16 against {fastest} as it comes ({exact})", (fastest, "bfloat16"), 2))
        asked.append((f"bfloat16 against {fastest_kept}", (fastest_kept, "bfloat16"), None))
    return [
        [name, what, *printing.judged(printing.ratio(each_pass, *pair), goal, why(each_pass, pair[1]))]
        for what, pair, goal in asked
    ]


def why(each_pass: printing.Rounds, way: str) -> str:
    """Return where the time of a step goes, from this run: what a missed target is put beside."""
    middle = {name: statistics.median(values) for name, values in each_pass.items()}
    forward_pass = middle["bfloat16 forward" if way == "bfloat16" else "forward"]
    share = forward_pass / middle[way]
    gain = middle["plain forward"] / forward_pass
    return (
        f"a step is {share:.0%} forward, {1 - share:.0%} backward and rest, and the forward is {gain:.2f} x the "
        "unchanged network's; what was tried is in performance.md"
    )


if __name__ == "__main__":
    main()
