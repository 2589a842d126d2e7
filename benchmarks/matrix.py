"""A whole SAT matrix against the script a user would write with torchattack, and one model more.

Networks of 224 px with random weights (time does not depend on them) on handwritten digits enlarged to that size. Each
network's outputs are put into the order of its own mean logits, and only images are taken that every network puts into
class 0: ours attacks correct images alone, and would otherwise win by doing less. The script
keeps every network in memory (the fairest for it: no reloading), attacks with torchattack's PGD in float32 with
autograd as it comes, rounds to uint8 as SAT does, and forwards each set through each network. It runs in a process
of its own with malloc as it comes, and in another with our memory setting; ours as in a worker, which has it.
"""

import statistics
import warnings
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial

import numpy as np
import printing
import timm
import torch
from processes import Side
from torch import Tensor

from examples.digits.images import held_out
from sat_engine import measure, sat_matrix
from sat_engine.geometry import resize
from sat_engine.networks import Classifier, NetworkSpec, build
from sat_engine.parity import MOST_NET_CHANGE
from sat_engine.precision import Precision, has_bfloat16
from sat_engine.protocol import Protocol

NETWORKS = ("resnet18", "vit_tiny_patch16_224", "convnext_atto")
SIDE = 224
CANDIDATES = 128
KEPT = " with our memory setting"
EPSILON, STEP = Fraction(14, 255), Fraction(2, 255)

Orders = Mapping[str, tuple[int, ...]]


def main() -> None:
    """Print the figures."""
    options = printing.options(__doc__)
    n, steps, rounds = (16, 2, 2) if options.quick else (16, 8, options.rounds or 3)
    protocol = Protocol(attack="pgd", epsilon=EPSILON, step_size=STEP, steps=steps)
    orders, images = setting(n)
    printing.say("matrix", machine=printing.machine(), images=n, steps=steps, rounds=rounds, networks=list(orders))
    ours = Side(our_contenders, orders, images, protocol, keep_memory=True)
    theirs = {
        "": Side(their_contenders, orders, images, protocol, keep_memory=False),
        KEPT: Side(their_contenders, orders, images, protocol, keep_memory=True),
    }
    contenders = {name: partial(ours.seconds, name) for name in ours.names}
    for suffix, side in theirs.items():
        contenders |= {name + suffix: partial(side.seconds, name) for name in side.names}
    bits = {name: ours.result(name) for name in ("ours", "bfloat16") if name in ours.names}
    bits["script"] = theirs[""].result("script")
    for contender in contenders.values():
        contender()  # so that each process has the memory that it keeps
    seconds = printing.interleaved(contenders, rounds)
    for side in (ours, *theirs.values()):
        side.end()
    counts = {name: int(each.sum()) for name, each in bits.items()}
    differing = {name: int((each != bits["ours"]).sum()) for name, each in bits.items()}
    printing.say("matrix", seconds=seconds, fooled=counts, differing=differing, bits=int(bits["ours"].size))
    report(seconds, counts, differing, bits["ours"].size)


def setting(n: int) -> tuple[Orders, measure.Images]:
    """Return each network's order of outputs, and n images that every network, on every path, puts into class 0."""
    candidates = np.repeat(resize(held_out()[0][:CANDIDATES], SIDE), 3, axis=3)
    orders = {name: order_of(name, candidates) for name in NETWORKS}
    loaded = [load(name, order, precision) for precision in precisions() for name, order in orders.items()]
    right = [measure.evaluate(network, candidates).argmax(axis=1) == 0 for network in loaded]
    images = candidates[np.all(right, axis=0)][:n]
    if len(images) < n:
        raise SystemExit(f"only {len(images)} of {CANDIDATES} candidates are right for all networks; take more")
    return orders, images


def precisions() -> list[Precision]:
    """Return what the device is good for."""
    return list(Precision) if has_bfloat16(printing.device()) else [Precision.FLOAT32]


def our_contenders(
    orders: Orders, images: measure.Images, protocol: Protocol
) -> dict[str, Callable[[], np.ndarray | None]]:
    """Return our matrix, one model more, attacks alone, and transfers beside forwards of as many ready tensors."""
    labels = np.zeros(len(images), np.int64)
    networks = {
        precision: {name: load(name, order, precision) for name, order in orders.items()} for precision in precisions()
    }
    ours = networks[Precision.FLOAT32]
    made = [measure.attack(each, images, labels, np.ones(len(labels), np.bool_), protocol) for each in ours.values()]
    found = {
        "ours": lambda: sat_matrix(ours, images, labels, protocol).fooled,
        "one more": partial(one_more, list(ours.values()), made, images, labels, protocol),
        **attacks(ours, images, labels, protocol),
        **transfers(next(iter(ours.values())), made[0], labels),
    }
    if Precision.BFLOAT16 in networks:
        half = networks[Precision.BFLOAT16]
        found["bfloat16"] = lambda: sat_matrix(half, images, labels, protocol).fooled
    return found


def attacks(
    networks: dict[str, Classifier], images: measure.Images, labels: measure.Integers, protocol: Protocol
) -> dict[str, Callable[[], None]]:
    """Return the attack on each network by itself."""
    everything = np.ones(len(labels), np.bool_)

    def attack(network: Classifier) -> None:
        measure.attack(network, images, labels, everything, protocol)

    return {f"attack {name}": partial(attack, network) for name, network in networks.items()}


def their_contenders(
    orders: Orders, images: measure.Images, protocol: Protocol
) -> dict[str, Callable[[], np.ndarray | None]]:
    """Return the script, and its attack on each network by itself."""
    warnings.simplefilter("ignore")
    labels = np.zeros(len(images), np.int64)
    plain = {name: load(name, order, lowered=False) for name, order in orders.items()}
    for network in plain.values():
        network.requires_grad_(requires_grad=True)  # as a network comes
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(printing.device()) / 255
    truth = torch.from_numpy(labels).to(pixels.device)

    def attack(network: Classifier) -> None:
        made_by(network, pixels, truth, protocol)

    alone = {f"script's attack {name}": partial(attack, network) for name, network in plain.items()}
    return {"script": partial(script, list(plain.values()), pixels, truth, protocol), **alone}


def order_of(name: str, images: measure.Images) -> tuple[int, ...]:
    """Return the network's outputs by falling mean logit over images."""
    plain = load(name, tuple(range(1000)), lowered=False)
    return tuple(np.argsort(-measure.evaluate(plain, images).mean(axis=0), kind="stable").tolist())


def load(
    name: str, order: tuple[int, ...], precision: Precision = Precision.FLOAT32, *, lowered: bool = True
) -> Classifier:
    """Return the network with its usual initial weights and its outputs in this order."""
    torch.manual_seed(0)
    tensors = timm.create_model(name).state_dict()
    spec = NetworkSpec(
        architecture=name,
        model_args={"num_classes": 1000},
        input_side=SIDE,
        channels=3,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        class_map=order,
    )
    return build(spec, tensors, image_channels=3, device=printing.device(), precision=precision, lowered=lowered)


def script(models: list[Classifier], pixels: Tensor, truth: Tensor, protocol: Protocol) -> np.ndarray:
    """Return what a user's own script would: fooled (m, m, n), by source and target."""
    with torch.no_grad():
        right = [torch.cat([model(each).argmax(1) for each in pixels.split(64)]) == truth for model in models]
    fooled = np.zeros((len(models), len(models), len(truth)), np.bool_)
    for i, source in enumerate(models):
        made = made_by(source, pixels, truth, protocol)
        for j, model in enumerate(models):
            wrong = torch.cat([model(each).argmax(1) for each in made.split(64)]) != truth
            fooled[i, j] = (wrong & right[i] & right[j]).cpu().numpy()
    return fooled


def made_by(source: Classifier, pixels: Tensor, truth: Tensor, protocol: Protocol) -> Tensor:
    """Return the images that torchattack's PGD makes against source, on the uint8 grid."""
    import torchattack

    attack = torchattack.PGD(
        source, None, pixels.device, eps=float(protocol.epsilon), steps=protocol.steps,
        alpha=float(protocol.step_size), random_start=False,
    )  # fmt: skip
    pieces = zip(pixels.split(64), truth.split(64), strict=True)
    return torch.cat([rounded(attack(each, target)) for each, target in pieces])


def rounded(adversarial: Tensor) -> Tensor:
    """Return pixels on the uint8 grid."""
    return (255 * adversarial).round() / 255


def one_more(
    networks: list[Classifier],
    stored: list[measure.AttackResult],
    images: measure.Images,
    labels: measure.Integers,
    protocol: Protocol,
) -> None:
    """Measure the last network only, the others being known: what the registry does when a model arrives."""
    *others, newest = networks
    correct = measure.correct(measure.evaluate(newest, images), labels)
    made = measure.attack(newest, images, labels, correct, protocol)
    for other, theirs in zip(others, stored, strict=False):
        measure.transfer(other, made.images, made.positions, labels, correct)
        measure.transfer(newest, theirs.images, theirs.positions, labels, correct)


def transfers(
    target: Classifier, made: measure.AttackResult, labels: measure.Integers
) -> dict[str, Callable[[], None]]:
    """Return transfers onto one network beside forwards of as many ready tensors."""
    everything = np.ones(len(labels), np.bool_)
    ready = torch.from_numpy(made.images).permute(0, 3, 1, 2).float().div(255).split(64)

    def forward() -> None:
        with torch.no_grad():
            for _ in range(2):
                for piece in ready:
                    target(piece).argmax(1).cpu()

    def transfer() -> None:
        for _ in range(2):
            measure.transfer(target, made.images, made.positions, labels, everything)

    return {"forward": forward, "transfer": transfer}


def report(seconds: printing.Rounds, counts: dict[str, int], differing: dict[str, int], bits: int) -> None:
    """Print the table."""
    same = f"{counts['ours']} and {counts['script']} fooled, {differing['script']} of {bits} bits differ"
    n = len(NETWORKS)
    asked = [
        ("whole matrix, float32", ("script", "ours"), 2, same),
        (f"the same, the script{KEPT}", ("script" + KEPT, "ours"), None, ""),
        (f"one model more, n = {n}", ("script", "one more"), n / 2, ""),
        ("transfers against forwards alone", ("forward", "transfer"), 0.95, ""),
    ]
    if "bfloat16" in seconds:
        net = abs(counts["bfloat16"] - counts["ours"]) / bits
        kept = "within the gate" if net <= MOST_NET_CHANGE else f"{net:.1%} net, so a worker would not use it"
        note = f"{counts['bfloat16']} fooled, {differing['bfloat16']} bits differ, {kept}; random weights"
        asked.append(("whole matrix, bfloat16", ("script", "bfloat16"), 3.5, note))
        asked.append((f"the same, the script{KEPT}", ("script" + KEPT, "bfloat16"), None, ""))
    because = why(seconds)
    rows = [
        [what, *printing.judged(printing.ratio(seconds, *pair), goal, because), check]
        for what, pair, goal, check in asked
    ]
    printing.table(["what", "times the script's speed, median (least-most)", "target", "", "check"], rows)


def why(seconds: printing.Rounds) -> str:
    """Return how far each network's attack gained in this run, and how much of the time attacks take."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    gain = {name: middle[f"script's attack {name}"] / middle[f"attack {name}"] for name in NETWORKS}
    gains = [f"{name} {value:.2f} x" for name, value in gain.items()]
    share = sum(middle[f"attack {name}"] for name in NETWORKS) / middle["ours"]
    return (
        f"{share:.0%} of ours are attacks, which in float32 are as fast as the script's times {', '.join(gains)}; what "
        "was tried is in performance.md"
    )


if __name__ == "__main__":
    main()
