"""The components are read off built networks, and agree with the published table where both can tell."""

import csv
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from sat_engine.components import COMPONENTS, Anatomy, read_anatomy
from sat_engine.errors import ArchitectureError

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "model_features.csv"
# where the reading is right and the table differs (docs/zoo.md has the reasons)
DIFFERENT = {
    "convmixer_1536_20": {"Hierarchical structure"},
    "gcresnext50ts": {"DW conv"},
    "gmlp_s16_224": {"Hierarchical structure"},
    "nf_regnet_b1": {"DW conv"},
    "tnt_s_patch16_224": {"Hierarchical structure"},
}
SPREAD = (
    "botnet26t_256",
    "convmixer_1536_20",
    "convnext_tiny",
    "cspdarknet53",
    "eca_nfnet_l0",
    "ese_vovnet39b",
    "efficientnet_b2",
    "gcresnext50ts",
    "gmlp_s16_224",
    "halo2botnet50ts_256",
    "nf_regnet_b1",
    "regnety_032",
    "resmlp_24_224",
    "resnest50d",
    "resnet50",
    "resnet50_gn",
    "resnetblur50",
    "resnetv2_50d_evos",
    "resnext50_32x4d",
    "rexnet_150",
    "seresnet50",
    "swin_tiny_patch4_window7_224",
    "tnt_s_patch16_224",
    "twins_svt_small",
    "visformer_small",
    "vit_small_patch16_224",
    "wide_resnet50_2",
    "xcit_tiny_12_p8_224",
)


def read(architecture: str, side: int, channels: int = 3, **options: object) -> Anatomy:
    """Read an architecture built without memory for its weights."""
    with torch.device("meta"):
        network = timm.create_model(architecture, in_chans=channels, **options)
    return read_anatomy(network, architecture, input_side=side, channels=channels)


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, str]]:
    if not PUBLISHED.exists():
        pytest.skip("the published feature table is not here")
    with PUBLISHED.open(newline="") as file:
        return {row["Model name"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("architecture", SPREAD)
def test_agrees_with_the_published_table(architecture: str, published: dict[str, dict[str, str]]) -> None:
    row = published[architecture]
    read_off = read(architecture, int(row["Input resolution"].split()[0])).components
    differing = {name for name in COMPONENTS if read_off[name] != row[name]}
    assert differing == DIFFERENT.get(architecture, set())


@pytest.mark.parametrize(
    ("architecture", "side", "million_parameters", "giga_macs"),
    [
        # as their papers state them
        ("resnet50", 224, 25.6, 4.1),
        ("vit_small_patch16_224", 224, 22.1, 4.6),
        ("swin_tiny_patch4_window7_224", 224, 28.3, 4.5),
        ("convnext_tiny", 224, 28.6, 4.5),
        ("efficientnet_b0", 224, 5.3, 0.39),
        ("mixer_s32_224", 224, 19.1, 1.0),
    ],
)
def test_costs_are_those_of_the_papers(
    architecture: str, side: int, million_parameters: float, giga_macs: float
) -> None:
    anatomy = read(architecture, side)
    assert anatomy.parameters / 1e6 == pytest.approx(million_parameters, rel=0.01)
    assert anatomy.macs / 1e9 == pytest.approx(giga_macs, rel=0.05)


def test_reading_changes_nothing_and_reads_the_same_with_weights() -> None:
    network = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    network.bn1.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [part.training for part in network.modules()]
    anatomy = read_anatomy(network, "test_resnet", input_side=32, channels=1)
    assert anatomy == read("test_resnet", 32, 1, num_classes=10)
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_follows_the_arguments_rather_than_the_name() -> None:
    options = {"img_size": 32, "patch_size": 8}
    by_token, by_mean = (
        read("test_vit", 32, 1, global_pool=pooling, **options).components for pooling in ("token", "avg")
    )
    assert (by_token["Pooling (final)"], by_mean["Pooling (final)"]) == ("CLS token", "GAP")
    assert by_token["Stem layer"] == "8s8"
    assert by_token["Input resolution"] == "32 x 32"


class Plain(nn.Module):
    """A network of no catalogue; functional calls only."""

    def __init__(self, *, pooled: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 5, 2), nn.Conv2d(4, 8, 3)
        self.head = nn.LazyLinear(10)
        self.pooled = pooled

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, 10)."""
        features = torch.relu(self.second(torch.max_pool2d(nn.functional.hardswish(self.first(images)), 2)))
        return self.head(features.mean((2, 3)) if self.pooled else features.flatten(1))


def test_networks_outside_the_catalogue_are_read_too() -> None:
    with_pooling, without = Plain(pooled=True), Plain(pooled=False)
    for network in (with_pooling, without):
        network(torch.zeros(1, 3, 32, 32))  # the lazy layer learns its size
    anatomy = read_anatomy(with_pooling, "of-our-own", input_side=32, channels=3)
    assert anatomy.components == {
        "Base architecture": "CNN",
        "Hierarchical structure": None,
        "Stem layer": "5s2",
        "Input resolution": "32 x 32",
        "Normalization": "Norm-free",
        "Activation": "ReLU + HardSwish",
        "Pooling (stem)": "Yes",
        "Pooling (final)": "GAP",
        "2D SA": "No",
        "CW attention": "No",
        "Location of CW attention": "~",
        "DW conv": "No",
        "Group conv": "No",
    }
    assert (anatomy.base, anatomy.family) == ("CNN", None)
    assert read_anatomy(without, "of-our-own", input_side=32, channels=3).components["Pooling (final)"] == "No"


def test_what_cannot_be_told_is_not_guessed() -> None:
    perceptron = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 8), nn.ReLU(), nn.Linear(8, 10))
    anatomy = read_anatomy(perceptron, "of-our-own", input_side=8, channels=3)
    assert anatomy.base is None
    assert anatomy.macs == 3 * 64 * 8 + 8 * 10
    untold = {name for name, value in anatomy.components.items() if value is None}
    assert untold == {
        "Base architecture",
        "Hierarchical structure",
        "Stem layer",
        "Pooling (stem)",
        "Pooling (final)",
    }


def test_an_input_that_does_not_fit_is_a_sentence() -> None:
    with pytest.raises(ArchitectureError, match=r"cannot take 1 x 32 x 32 pixels: .*check the input size"):
        read_anatomy(Plain(pooled=True), "of-our-own", input_side=32, channels=1)
