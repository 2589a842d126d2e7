"""A network as everything else sees it: images in [0, 1] in, logits in the task's order out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sat_engine.batching import CHUNKS, Batch
from sat_engine.numeric_path import hardware_of
from sat_engine.plan import Plan
from sat_engine.precision import Precision

# Positions a chunk on a CPU. Part of the numeric path: another batch may flip a bit in a thousand.
BATCH = CHUNKS["cpu"]
# ITU-R BT.601: the share of red, green and blue in brightness
LUMA = (0.299, 0.587, 0.114)


class Classifier(nn.Module):
    """A frozen network in eval mode, with normalisation and channel conversion inside.

    So an attack's epsilon is in the image set's own pixels, whatever the network does with them. lowering names what
    was done to the network's layers ("folded onednn"); batch is shared with whoever remembers it.
    """

    mean: Tensor
    std: Tensor
    scale: Tensor
    shift: Tensor
    luma: Tensor
    class_map: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        input_side: int,
        image_channels: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        class_map: Sequence[int],
        precision: Precision = Precision.FLOAT32,
        batch: Batch | None = None,
        lowering: str = "",
    ) -> None:
        """Wrap network, which takes (n, channels, input_side, input_side) and gives (n, outputs)."""
        super().__init__()
        self.network = network
        self.input_side, self.image_channels, self.channels = input_side, image_channels, channels
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))
        # one multiplication and addition a pixel; in float64, so that only the results are rounded
        scale = 1 / torch.tensor(std, dtype=torch.float64)
        shift = -torch.tensor(mean, dtype=torch.float64) * scale
        self.register_buffer("scale", scale.float().view(1, -1, 1, 1))
        self.register_buffer("shift", shift.float().view(1, -1, 1, 1))
        self.register_buffer("luma", torch.tensor(LUMA, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("class_map", torch.tensor(class_map, dtype=torch.int64))
        self.precision, self.lowering = precision, lowering
        self.plan: Plan | None = None  # how it was built
        self.class_names: tuple[str, ...] | None = None  # of a pretrained network's outputs, where they are known
        self._batch = batch
        self.eval().requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.mean.device

    @property
    def batch(self) -> Batch:
        """How many images go through at once; the device decides where none was given."""
        if self._batch is None:
            self._batch = Batch.default(self.device)
        return self._batch

    @property
    def numeric_path(self) -> str:
        """What a bit may depend on; `sat_engine.numeric_path` shows one, and compares them."""
        version = ".".join(torch.__version__.split(".")[:2])
        layers = f"{self.precision} {self.lowering}".strip()
        return f"{layers} channels_last {self.batch.describe()} torch={version} {hardware_of(self.device)}"

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits (n, classes) of float images (n, image_channels, side, side) in [0, 1].

        Outputs that no class maps to are left out, so they are masked from the argmax and from the loss.
        """
        if self.image_channels == self.channels:
            seen = images
        elif self.channels == 1:
            seen = (images * self.luma).sum(dim=1, keepdim=True)
        else:
            seen = images.expand(-1, self.channels, -1, -1)
        normalised = torch.addcmul(self.shift, seen, self.scale).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is Precision.BFLOAT16):
            logits: Tensor = self.network(normalised)
        return logits[:, self.class_map].float()
