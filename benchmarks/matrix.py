"""A whole SAT matrix against the script a user would write with torchattack, and one model more.

Networks of 224 px with random weights (time does not depend on them) on handwritten digits enlarged to that size. Each
network's outputs are put into the order of its own mean logits, and only images are taken that every network puts into
class 0: ours attacks correct images alone, and would otherwise win by doing less. The script
keeps every network in memory (the fairest for it: no reloading), attacks with torchattack's PGD in float32 with
autograd as it comes, rounds to uint8 as SAT does, and forwards each set through each network.
"""

import warnings
from fractions import Fraction
from functools import partial

import numpy as np
import printing
import timm
import torch
from torch import Tensor, nn

from examples.digits.images import held_out
from sat_engine import measure, sat_matrix
from sat_engine.geometry import resize
from sat_engine.matrix import SatMatrix
from sat_engine.networks import Classifier, NetworkSpec, build
from sat_engine.parity import MOST_NET_CHANGE
from sat_engine.precision import Precision, has_fast_bfloat16
from sat_engine.protocol import Protocol

NETWORKS = ("resnet18", "vit_tiny_patch16_224", "convnext_atto")
SIDE = 224
CANDIDATES = 128
EPSILON, STEP = Fraction(14, 255), Fraction(2, 255)


def main() -> None:
    """Print the figures."""
    options = printing.options(__doc__)
    n, steps, rounds = (16, 2, 2) if options.quick else (16, 8, options.rounds or 3)
    protocol = Protocol(attack="pgd", epsilon=EPSILON, step_size=STEP, steps=steps)
    candidates = np.repeat(resize(held_out()[0][:CANDIDATES], SIDE), 3, axis=3)
    orders = {name: order_of(name, candidates) for name in NETWORKS}
    ours = {name: load(name, order) for name, order in orders.items()}
    half = {name: load(name, order, Precision.BFLOAT16) for name, order in orders.items()}
    plain = {name: load(name, order, lowered=False) for name, order in orders.items()}
    right = [measure.evaluate(network, candidates).argmax(axis=1) == 0 for network in [*ours.values(), *half.values()]]
    images, labels = candidates[np.all(right, axis=0)][:n], np.zeros(n, np.int64)
    if len(images) < n:
        raise SystemExit(f"only {len(images)} of {CANDIDATES} candidates are right for all networks; take more")
    for classifier in plain.values():
        classifier.requires_grad_(requires_grad=True)  # as a network comes
    printing.say("matrix", machine=printing.machine(), images=n, steps=steps, rounds=rounds, networks=list(ours))
    matrix = sat_matrix(ours, images, labels, protocol)
    ways = {
        "ours": partial(sat_matrix, ours, images, labels, protocol),
        "script": partial(script, plain, images, labels, protocol),
        "one more": partial(one_more, ours, images, labels, protocol, matrix),
    }
    if has_fast_bfloat16(printing.device()):
        ways["bfloat16"] = partial(sat_matrix, half, images, labels, protocol)
    bits = {name: fooled_bits(way()) for name, way in ways.items() if name in {"ours", "script", "bfloat16"}}
    ways |= transfers(ours, images, labels, protocol)
    seconds = printing.interleaved(ways, rounds)
    counts = {name: int(each.sum()) for name, each in bits.items()}
    differing = {name: int((each != bits["ours"]).sum()) for name, each in bits.items()}
    printing.say("matrix", seconds=seconds, fooled=counts, differing=differing, bits=int(bits["ours"].size))
    report(seconds, counts, differing, bits["ours"].size, len(ours))


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


def script(
    networks: dict[str, nn.Module], images: measure.Images, labels: measure.Integers, protocol: Protocol
) -> np.ndarray:
    """Return what a user's own script would: fooled (m, m, n), by source and target."""
    warnings.simplefilter("ignore")
    import torchattack

    device = printing.device()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(device) / 255
    truth = torch.from_numpy(labels).to(device)
    models = list(networks.values())
    with torch.no_grad():
        right = [torch.cat([model(each).argmax(1) for each in pixels.split(64)]) == truth for model in models]
    fooled = np.zeros((len(models), len(models), len(labels)), np.bool_)
    for i, source in enumerate(models):
        attack = torchattack.PGD(
            source, None, device, eps=float(protocol.epsilon), steps=protocol.steps,
            alpha=float(protocol.step_size), random_start=False,
        )  # fmt: skip
        made = torch.cat(
            [rounded(attack(each, target)) for each, target in zip(pixels.split(64), truth.split(64), strict=True)]
        )
        for j, model in enumerate(models):
            wrong = torch.cat([model(each).argmax(1) for each in made.split(64)]) != truth
            fooled[i, j] = (wrong & right[i] & right[j]).cpu().numpy()
    return fooled


def rounded(adversarial: Tensor) -> Tensor:
    """Return pixels on the uint8 grid."""
    return (255 * adversarial).round() / 255


def fooled_bits(result: SatMatrix | np.ndarray) -> np.ndarray:
    """Return (m, m, n)."""
    return result if isinstance(result, np.ndarray) else result.fooled


def one_more(
    networks: dict[str, Classifier],
    images: measure.Images,
    labels: measure.Integers,
    protocol: Protocol,
    known: SatMatrix,
) -> None:
    """Measure the last network only, the others being known: what the registry does when a model arrives."""
    *others, newest = networks.values()
    correct = measure.correct(measure.evaluate(newest, images), labels)
    made = measure.attack(newest, images, labels, correct, protocol)
    for i, other in enumerate(others):
        common = correct & known.correct[i]
        measure.transfer(other, made.images, made.positions, labels, common)
        measure.transfer(newest, STORED[i].images, STORED[i].positions, labels, common)


STORED: list[measure.AttackResult] = []  # the others' adversarial images, which a registry keeps


def transfers(
    networks: dict[str, Classifier], images: measure.Images, labels: measure.Integers, protocol: Protocol
) -> dict[str, object]:
    """Return transfers onto one network beside forwards of as many ready tensors; fills STORED."""
    for network in networks.values():
        correct = measure.correct(measure.evaluate(network, images), labels)
        STORED.append(measure.attack(network, images, labels, correct, protocol))
    target, made = networks["resnet18"], STORED[0]
    everything = np.zeros(len(labels), np.bool_)
    everything[made.positions] = True
    with torch.no_grad():
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


def report(seconds: printing.Rounds, counts: dict[str, int], differing: dict[str, int], bits: int, n: int) -> None:
    """Print the table."""
    rows = []
    against = printing.ratio(seconds, "script", "ours")
    small = "bounded by the networks whose attack gains little (the table of one attack)"
    same = f"{counts['ours']} and {counts['script']} fooled, {differing['script']} of {bits} bits differ"
    rows.append(["whole matrix, float32", printing.spread(against), "2", printing.verdict(against[0], 2, small), same])
    if "bfloat16" in seconds:
        half = printing.ratio(seconds, "script", "bfloat16")
        net = abs(counts["bfloat16"] - counts["ours"]) / bits
        kept = "parity holds" if net <= MOST_NET_CHANGE else f"parity does not hold ({net:.1%} net), so it is not used"
        note = f"{counts['bfloat16']} fooled, {differing['bfloat16']} bits differ; with these random weights {kept}"
        rows.append(
            ["whole matrix, bfloat16", printing.spread(half), "3.5", printing.verdict(half[0], 3.5, small), note]
        )
    more = printing.ratio(seconds, "script", "one more")
    rows.append([f"one model more, n = {n}", printing.spread(more), f"{n / 2}", printing.verdict(more[0], n / 2), ""])
    rate = printing.ratio(seconds, "forward", "transfer")
    rows.append(
        ["transfers against forwards alone", printing.spread(rate), "0.95", printing.verdict(rate[0], 0.95), ""]
    )
    printing.table(["what", "times the script's speed, median (least-most)", "target", "", "check"], rows)


if __name__ == "__main__":
    main()
