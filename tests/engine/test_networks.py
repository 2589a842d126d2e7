"""A checkpoint becomes a network exactly, or is refused by name."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sat_engine import networks
from sat_engine.catalogue import ENTRY_POINT_GROUP
from sat_engine.checkpoints import fit
from sat_engine.errors import ArchitectureError, CheckpointError
from sat_engine.networks import NetworkSpec, network_digest, weights_digest

SWIN = {
    "img_size": 32,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 24,
    "depths": [2, 2],
    "num_heads": [2, 4],
}


def spec_of(architecture: str, *, side: int = 32, channels: int = 1, **model_args: object) -> NetworkSpec:
    """A spec for ten classes."""
    return NetworkSpec(
        architecture=architecture,
        model_args={"num_classes": 10, **model_args},
        input_side=side,
        channels=channels,
        mean=(0.25, 0.5, 0.75)[:channels],
        std=(0.5, 0.25, 0.125)[:channels],
        class_map=tuple(range(10)),
    )


def new_module(spec: NetworkSpec) -> nn.Module:
    """A network with initial weights, in eval mode."""
    return networks.create_module(spec.architecture, spec.model_args, spec.input_side, spec.channels).eval()


@pytest.fixture(scope="module")
def resnet() -> tuple[NetworkSpec, dict[str, Tensor]]:
    """A small residual network's spec and tensors."""
    spec = spec_of("test_resnet")
    return spec, new_module(spec).state_dict()


@pytest.mark.parametrize(
    ("architecture", "model_args"),
    [
        ("test_resnet", {}),
        ("test_vit", {"img_size": 32, "patch_size": 4}),
        ("swin_tiny_patch4_window7_224", SWIN),  # buffers that no checkpoint holds
        ("test_vit_relpos", {"img_size": 32, "patch_size": 8}),
        ("eva02_tiny_patch14_224", {"patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2}),  # img_size follows
        ("test_maxvit", {"img_size": 32}),
    ],
)
def test_a_built_network_computes_what_the_original_does(architecture: str, model_args: dict[str, object]) -> None:
    spec = spec_of(architecture, **model_args)
    original = new_module(spec)
    classifier = networks.build(spec, original.state_dict(), image_channels=1)
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = original((images - 0.25) / 0.5)
        assert torch.allclose(classifier(images), expected, atol=1e-5, rtol=1e-4)
    assert not any(tensor.is_meta for tensor in [*classifier.parameters(), *classifier.buffers()])


def test_swin_brings_seventeen_buffers_that_no_checkpoint_holds() -> None:
    module = networks.create_module("swin_tiny_patch4_window7_224", {"num_classes": 10}, 224, 3)
    unsaved = {name for name, _ in module.named_buffers()} - set(module.state_dict())
    assert len(unsaved) == 17


def test_a_classifier_is_frozen(resnet: tuple[NetworkSpec, dict[str, Tensor]]) -> None:
    classifier = networks.build(*resnet, image_channels=1)
    assert not classifier.training
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in classifier.parameters())
    assert classifier.numeric_path.startswith("float32 folded onednn channels_last batch=64 torch=")
    assert " cpu capability=" in classifier.numeric_path


def test_a_network_that_normalises_by_its_batch_is_refused(
    resnet: tuple[NetworkSpec, dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, tensors = resnet
    module, real = networks._skeleton(spec)
    module.bn1.track_running_stats = False
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(module.bn1, name, None)
    monkeypatch.setattr(networks, "_skeleton", lambda *_, **__: (module, real))
    left = {name: tensor for name, tensor in tensors.items() if name in module.state_dict()}
    with pytest.raises(ArchitectureError, match="normalises bn1 by the statistics of whatever batch"):
        networks.build(spec, left, image_channels=1)


def test_building_leaves_the_caller_s_random_numbers_alone(resnet: tuple[NetworkSpec, dict[str, Tensor]]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    networks.build(*resnet, image_channels=1)
    new_module(resnet[0])
    assert torch.equal(torch.rand(3), expected)


# --- channels


def test_one_channel_is_repeated_for_a_network_of_three() -> None:
    spec = spec_of("test_resnet", channels=3)
    module = new_module(spec)
    classifier = networks.build(spec, module.state_dict(), image_channels=1)
    images = torch.rand(2, 1, 32, 32)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    with torch.no_grad():
        expected = module((torch.cat([images] * 3, dim=1) - mean) / std)
        assert torch.allclose(classifier(images), expected, atol=1e-5)


def test_three_channels_become_brightness_for_a_network_of_one(resnet: tuple[NetworkSpec, dict[str, Tensor]]) -> None:
    classifier = networks.build(*resnet, image_channels=3)
    grey = networks.build(*resnet, image_channels=1)
    images = torch.rand(2, 3, 32, 32)
    brightness = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
    with torch.no_grad():
        assert torch.allclose(classifier(images), grey(brightness), atol=1e-5)


# --- class maps


def test_outputs_are_put_into_the_task_s_order_and_others_left_out(
    resnet: tuple[NetworkSpec, dict[str, Tensor]],
) -> None:
    spec, tensors = resnet
    images = torch.rand(2, 1, 32, 32)
    mapped = networks.build(replace(spec, class_map=(7, 0, 3)), tensors, image_channels=1)
    whole = networks.build(spec, tensors, image_channels=1)
    with torch.no_grad():
        assert torch.equal(mapped(images), whole(images)[:, [7, 0, 3]])


def test_a_class_map_beyond_the_outputs_is_refused(resnet: tuple[NetworkSpec, dict[str, Tensor]]) -> None:
    spec, tensors = resnet
    with pytest.raises(ArchitectureError, match=r"output 10, but test_resnet has 10 outputs"):
        networks.build(replace(spec, class_map=(0, 10)), tensors, image_channels=1)


# --- checkpoints


@pytest.mark.parametrize(
    ("wrapped", "weights"),
    [
        (lambda t: {f"module.{n}": v for n, v in t.items()}, "raw"),
        (lambda t: {f"state_dict.{n}": v for n, v in t.items()}, "raw"),
        (lambda t: {f"state_dict.module._orig_mod.{n}": v for n, v in t.items()} | {"epoch": torch.tensor(3)}, "raw"),
        (lambda t: {f"model.{n}": v for n, v in t.items()} | {f"ema.{n}": v * 0 for n, v in t.items()}, "raw"),
        (lambda t: {f"state_dict_ema.{n}": v for n, v in t.items()} | {n: v * 0 for n, v in t.items()}, "ema"),
        (lambda t: dict(t) | {f"ema.{n}": v * 0 for n, v in t.items()}, "raw"),
        (lambda t: {f"ema.module.{n}": v for n, v in t.items()}, "ema"),
        (lambda t: {n: v.double() if v.is_floating_point() else v for n, v in t.items()}, "raw"),
    ],
)
def test_wrapped_checkpoints_are_the_same_network(
    wrapped: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    weights: str,
    resnet: tuple[NetworkSpec, dict[str, Tensor]],
) -> None:
    spec, tensors = resnet
    fitted = networks.fit_tensors(spec, wrapped(tensors), weights=weights)
    assert list(fitted) == list(tensors)
    assert all(torch.equal(fitted[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_weights_become_float32(
    half: torch.dtype, resnet: tuple[NetworkSpec, dict[str, Tensor]]
) -> None:
    spec, tensors = resnet
    halves = {name: tensor.to(half) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    fitted = networks.fit_tensors(spec, halves)
    assert {tensor.dtype for tensor in fitted.values()} == {torch.float32, torch.int64}
    name = next(iter(tensors))
    assert torch.equal(fitted[name], halves[name].float())


def test_a_network_with_a_part_named_like_a_wrapper_keeps_it() -> None:
    inside = {"model.weight": torch.ones(2), "model.bias": torch.ones(2)}
    assert set(fit(inside, inside)) == set(inside)
    assert set(fit({f"module.{name}": tensor for name, tensor in inside.items()}, inside)) == set(inside)


def test_averaged_weights_that_are_not_there_are_not_replaced(resnet: tuple[NetworkSpec, dict[str, Tensor]]) -> None:
    with pytest.raises(CheckpointError, match="no averaged weights"):
        networks.build(*resnet, image_channels=1, weights="ema")


def test_the_first_differing_tensors_are_named(resnet: tuple[NetworkSpec, dict[str, Tensor]]) -> None:
    spec, tensors = resnet
    names = list(tensors)
    changed = dict(tensors)
    del changed[names[0]]
    changed[names[1]] = torch.zeros(3, 5)
    changed["surplus"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as refused:
        networks.build(spec, changed, image_channels=1)
    said = str(refused.value)
    assert "3 tensors differ" in said
    assert f"{names[0]} is missing" in said
    assert f"{names[1]} is (3, 5) and should be {tuple(tensors[names[1]].shape)}" in said
    assert "surplus is unexpected" in said


def test_only_five_of_many_differences_are_named(resnet: tuple[NetworkSpec, dict[str, Tensor]]) -> None:
    spec, tensors = resnet
    with pytest.raises(CheckpointError, match=rf"and {len(tensors) - 5} more") as refused:
        networks.build(spec, {}, image_channels=1)
    assert str(refused.value).count("is missing") == 5


def test_a_head_of_other_classes_is_never_replaced(resnet: tuple[NetworkSpec, dict[str, Tensor]]) -> None:
    spec, tensors = resnet
    other = replace(spec, model_args={"num_classes": 7}, class_map=tuple(range(7)))
    with pytest.raises(CheckpointError, match=r"\(10, \d+\) and should be \(7, \d+\).*num_classes"):
        networks.build(other, tensors, image_channels=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(
    value: float, resnet: tuple[NetworkSpec, dict[str, Tensor]]
) -> None:
    spec, tensors = resnet
    name = next(iter(tensors))
    spoilt = tensors[name].clone()
    spoilt.view(-1)[-1] = value
    with pytest.raises(CheckpointError, match=rf"tensor {name} holds values that are not finite"):
        networks.build(spec, tensors | {name: spoilt}, image_channels=1)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.complex64])
def test_weights_of_other_kinds_are_refused(dtype: torch.dtype, resnet: tuple[NetworkSpec, dict[str, Tensor]]) -> None:
    spec, tensors = resnet
    name = next(iter(tensors))
    with pytest.raises(CheckpointError, match=rf"{name} is {dtype} and should be torch.float32"):
        networks.build(spec, tensors | {name: torch.ones(tensors[name].shape).to(dtype)}, image_channels=1)


# --- architectures


@pytest.mark.parametrize(
    "name",
    ["hf-hub:timm/test_resnet", "local-dir:/tmp", "timm/test_resnet", "../x", "", "test_resnet.r160_in1k", "resnet_5O"],
)
def test_names_outside_the_catalogue_are_refused(name: str) -> None:
    with pytest.raises(ArchitectureError, match="there is no architecture"):
        networks.create_module(name, {}, 32, 3)


def test_an_unknown_name_is_met_with_near_ones() -> None:
    with pytest.raises(ArchitectureError, match=r"did you mean .*test_resnet"):
        networks.create_module("test_resnett", {}, 32, 3)


@pytest.mark.parametrize(
    ("model_args", "said"),
    [
        ({"pretrained": True}, "pretrained is not allowed; allowed are .*num_classes"),
        ({"checkpoint_path": "/etc/passwd"}, "checkpoint_path is not allowed"),
        ({"num_classes": 10**9}, "num_classes is 1000000000"),
        ({"num_classes": True}, "num_classes is True"),
        ({"img_size": "32"}, "img_size is '32'"),
        ({"depths": [2] * 100}, "depths is"),
        ({"depths": []}, "depths is"),
        ({"patch_size": 2.5}, "patch_size is 2.5"),
        ({"global_pool": "avg; import os"}, "global_pool is"),
    ],
)
def test_build_arguments_come_from_an_allow_list(model_args: dict[str, object], said: str) -> None:
    with pytest.raises(ArchitectureError, match=said):
        spec_of("test_resnet", **model_args)
    with pytest.raises(ArchitectureError, match=said):
        networks.create_module("test_resnet", model_args, 32, 3)


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made off the meta device."""

    n_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.device.type != "meta":
            self.n_bytes = max(self.n_bytes, made.numel() * made.element_size())
        return made


def test_names_are_compared_before_anything_large_is_made() -> None:
    spec = spec_of("swin_tiny_patch4_window7_224", side=256, channels=3, img_size=256, window_size=32)
    with Largest() as largest, pytest.raises(CheckpointError, match=r"patch_embed\.proj\.weight is missing"):
        networks.fit_tensors(spec, {"a": torch.zeros(1)})
    assert largest.n_bytes < 10**6  # a mask of its windows alone has 67 MB


@pytest.mark.parametrize(
    ("side", "model_args", "said"),
    [
        (1024, {"patch_size": 2}, "512 tokens a side"),
        (32, {"img_size": 1024, "patch_size": [16, 4]}, "256 tokens a side"),
        (1024, {"img_size": [64, 1024], "patch_size": 1}, "1024 tokens a side"),
        (64, {"window_size": 33}, "window_size is 33"),
    ],
)
def test_arguments_that_would_take_gigabytes_are_refused(side: int, model_args: dict[str, object], said: str) -> None:
    with pytest.raises(ArchitectureError, match=said):
        spec_of("swin_tiny_patch4_window7_224", side=side, **model_args)


def test_small_patches_of_small_inputs_are_fine() -> None:
    assert spec_of("test_vit", side=32, img_size=32, patch_size=1).input_side == 32
    assert spec_of("test_vit", side=1024, patch_size=8).input_side == 1024


def test_arguments_that_an_architecture_lacks_are_named() -> None:
    with pytest.raises(ArchitectureError, match=r"test_resnet cannot be built with .*window_size"):
        networks.create_module("test_resnet", {"window_size": 7}, 32, 3)


def test_a_network_that_cannot_take_its_input_says_so() -> None:
    spec = spec_of("test_vit", side=30, img_size=32, patch_size=4, channels=1)
    with pytest.raises(ArchitectureError, match=r"cannot take 1 x 30 x 30 pixels.*check the input size"):
        networks.build(spec, new_module(spec).state_dict(), image_channels=1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"input_side": 0}, "input size"),
        ({"input_side": 5000}, "input size"),
        ({"channels": 4}, "4 input channels"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean has 3"),
        ({"std": (0.0,)}, "std above 0"),
        ({"mean": (float("nan"),)}, "finite"),
        ({"class_map": ()}, "every class"),
        ({"class_map": (1, 1)}, "every class"),
        ({"class_map": (-1, 1)}, "every class"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ArchitectureError, match=said):
        replace(spec_of("test_resnet"), **changed)


# --- an operator's own architectures


class Scaled(nn.Module):
    """A network that computes with its tensors while it is built, and keeps one outside its state."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(16, num_classes)
        self.scale = torch.tensor(float(torch.linspace(1, 3, 3)[1].item()))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        return self.linear(images.flatten(1)) * self.scale


def number(num_classes: int) -> int:
    """An entry point that gives no network."""
    return num_classes


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two architectures as an operator's package would install them."""
    points = EntryPoints(
        EntryPoint(name, f"{__name__}:{value}", ENTRY_POINT_GROUP)
        for name, value in {"scaled": "Scaled", "number": "number"}.items()
    )
    monkeypatch.setattr(networks, "entry_points", lambda *, group: points.select(group=group))


def test_an_installed_architecture_is_built_with_its_arguments_alone(installed: None) -> None:
    spec = spec_of("scaled", side=4)
    tensors = {"linear.weight": torch.rand(10, 16), "linear.bias": torch.rand(10)}
    classifier = networks.build(spec, tensors, image_channels=1)
    images = torch.rand(2, 1, 4, 4)
    expected = 2 * (((images - 0.25) / 0.5).flatten(1) @ tensors["linear.weight"].T + tensors["linear.bias"])
    assert torch.allclose(classifier(images), expected, atol=1e-5)


def test_an_entry_point_that_gives_no_network_is_refused(installed: None) -> None:
    with pytest.raises(ArchitectureError, match="returned int, not a torch module"):
        networks.create_module("number", {"num_classes": 3}, 4, 1)


# --- digests


def test_a_network_s_digest_is_of_all_that_shapes_its_outputs(zoo: dict[str, Any]) -> None:
    trained = zoo["byobnet"]
    weights, classes = weights_digest(trained.path), [str(digit) for digit in range(10)]
    digest = network_digest(trained.spec, weights, classes)
    stored = replace(
        trained.spec,
        mean=tuple(float(np.float32(value)) for value in trained.spec.mean),
        std=tuple(float(np.float32(value)) for value in trained.spec.std),
    )
    assert network_digest(stored, weights, classes) == digest, "a float32 column must not make another network"
    others = [
        network_digest(replace(trained.spec, **changed), weights, classes)
        for changed in (
            {"architecture": "test_resnet"},
            {"model_args": {"num_classes": 11}},
            {"input_side": 31},
            {"mean": (0.31,)},
            {"std": (0.36,)},
            {"class_map": tuple(reversed(range(10)))},
        )
    ]
    others += [network_digest(trained.spec, bytes(32), classes), network_digest(trained.spec, weights, classes[::-1])]
    assert len({digest, *others}) == 9


@pytest.mark.parametrize(
    "spec",
    [
        spec_of("test_resnet"),
        spec_of("test_vit", img_size=32, patch_size=8),
        spec_of("swin_tiny_patch4_window7_224", **SWIN),
    ],
    ids=lambda spec: spec.architecture,
)
def test_a_plan_gives_the_same_network_without_running_it(spec: NetworkSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = new_module(spec).state_dict()
    first = networks.build(spec, tensors, image_channels=1)
    pixels = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = first(pixels)

    def refuse(*_: object) -> None:
        raise AssertionError("the network was run")

    monkeypatch.setattr(type(first.network), "forward", refuse)
    again = networks.build(spec, tensors, image_channels=1, plan=first.plan)
    monkeypatch.undo()
    assert torch.equal(again(pixels), expected)
    assert again.numeric_path == first.numeric_path
    assert again.plan == first.plan
