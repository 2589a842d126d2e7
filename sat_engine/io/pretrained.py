"""Pretrained weights of timm's catalogue, fetched from the hub (or what HF_ENDPOINT names in its place)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sat_engine.errors import ArchitectureError, CheckpointError, PretrainedUnavailableError
from sat_engine.spec import check_model_args

WAIT_SECONDS = 10.0  # for the hub's first answer; its own client would retry for minutes
# safetensors alone: timm would otherwise fall back to unpickling
_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretrained:
    """What the hub has under one architecture and tag; model_args build a network that takes the tensors.

    mean and std are per channel of a [0, 1] pixel. class_names are the hub's, else ImageNet's (n01440764 …)
    where there are as many outputs as one of its sets has classes; None otherwise.
    """

    tensors: Mapping[str, Tensor]
    model_args: Mapping[str, object]
    input_side: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    class_names: tuple[str, ...] | None
    license: str | None


def fetch(architecture: str, tag: str) -> Pretrained:
    """Return the weights of timm's architecture.tag with their own number of classes and preprocessing.

    The hub's config.json decides both, so a head is never cut or made anew. Files are kept in the hub's local cache
    and read from there when the hub is away. ArchitectureError where timm does not know the tag,
    PretrainedUnavailableError where the hub does not give the files, CheckpointError where they do not fit.
    """
    repository = _find_repository(architecture, tag)
    _require_files(repository)
    module = _load(architecture, repository)
    config = module.pretrained_cfg
    channels, height, width = config["input_size"]
    if height != width or not config["num_classes"]:
        raise CheckpointError(
            f"{architecture}.{tag} takes {height} x {width} pixels and has {config['num_classes']} classes; "
            "only classifiers of square images can be measured"
        )
    model_args = {"num_classes": config["num_classes"], **module.pretrained_model_args}
    check_model_args(model_args)
    names = config.get("label_names") or _imagenet_names(module)
    return Pretrained(
        tensors={name: tensor.detach() for name, tensor in module.state_dict().items()},
        model_args=model_args,
        input_side=height,
        channels=channels,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        num_classes=config["num_classes"],
        class_names=tuple(map(str, names)) if names else None,
        license=config.get("license"),
    )


def _imagenet_names(module: Any) -> list[str] | None:
    """Return timm's names of the outputs, as ImageNet's folders are called; None for networks of other classes."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(module)
    return ImageNetInfo(subset).label_names() if subset else None


def _find_repository(architecture: str, tag: str) -> str:
    """Return the hub's name of architecture.tag, from timm's own list: nothing of the request reaches an address."""
    import timm

    known = timm.list_models(f"{architecture}.*", pretrained=True) if architecture.isidentifier() else []
    if f"{architecture}.{tag}" not in known:
        tags = ", ".join(name.partition(".")[2] for name in known) or "none"
        raise ArchitectureError(f"timm has no pretrained weights {architecture[:80]}.{tag[:80]}; its tags are: {tags}")
    config = timm.get_pretrained_cfg(f"{architecture}.{tag}")
    if config is None or not config.hf_hub_id:
        raise PretrainedUnavailableError(
            f"the weights of {architecture}.{tag} are not on the hub; register them by uploading a checkpoint"
        )
    return str(config.hf_hub_id)


def _require_files(repository: str) -> None:
    """Raise PretrainedUnavailableError unless every file is cached here or offered by the hub."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    for name in _FILES:
        if isinstance(try_to_load_from_cache(repository, name), str):
            continue
        try:
            get_hf_file_metadata(hf_hub_url(repository, name), timeout=WAIT_SECONDS)
        except (EntryNotFoundError, HfHubHTTPError) as error:
            raise PretrainedUnavailableError(
                f"{constants.ENDPOINT} does not give {repository}/{name}: {_first_line(error)}; "
                "check the tag, or register the weights by uploading a checkpoint"
            ) from error
        except Exception as error:  # the client's own transport errors, by whichever library it uses this year
            raise PretrainedUnavailableError(
                f"{constants.ENDPOINT} cannot be reached for {repository}/{name} ({_first_line(error)}); "
                "check the connection or HF_ENDPOINT and retry, or register the weights by uploading a checkpoint"
            ) from error


def _load(architecture: str, repository: str) -> Any:
    """Return the network with the hub's weights; timm puts the hub's settings on it as pretrained_cfg."""
    import timm
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        with torch.random.fork_rng(devices=[]):
            module = timm.create_model(f"hf-hub:{repository}", pretrained=True)
    except (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise PretrainedUnavailableError(f"fetching {repository} broke off ({_first_line(error)}); retry") from error
    except Exception as error:
        raise CheckpointError(f"the hub's files of {repository} do not make a network: {_first_line(error)}") from error
    built = module.pretrained_cfg["architecture"]
    if built != architecture:
        raise CheckpointError(f"the hub's {repository} is a {built}, not a {architecture}")
    return module


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
