"""A network that is not in timm's catalogue."""

from torch import Tensor, nn


class PlainCNN(nn.Module):
    """Convolutions without short cuts: each stage halves the image and doubles the channels.

    The arguments bear the names that the registry lets through as `model_args`: embed_dim is the first stage's number
    of channels, depth the number of stages. Images (n, in_chans, side, side), side a multiple of 2 ** depth; logits
    (n, num_classes).
    """

    def __init__(self, num_classes: int, in_chans: int = 3, embed_dim: int = 32, depth: int = 3) -> None:
        super().__init__()
        widths = [embed_dim * 2**stage for stage in range(depth)]
        inputs = [in_chans, *widths]
        self.stages = nn.Sequential(*map(self._stage, inputs, widths))
        self.head = nn.Linear(widths[-1], num_classes)

    @staticmethod
    def _stage(channels: int, width: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, num_classes)."""
        logits: Tensor = self.head(self.stages(images).mean(dim=(2, 3)))
        return logits
