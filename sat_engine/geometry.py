"""Bringing square images from one size to another, byte to byte."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Images = NDArray[np.uint8]


def resize(images: Images, side: int) -> Images:
    """Return uint8 images (n, s, s, channels) as (n, side, side, channels): antialiased bilinear, rounded.

    At equal sizes the images come back as they are. Always computed on the CPU, image by image independently, so
    every network of one input size sees the same bytes wherever it runs.
    """
    if images.shape[1:3] == (side, side):
        return images
    if not len(images):
        return np.empty((0, side, side, images.shape[3]), np.uint8)
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    resized = functional.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    # the kernel is convex, but float32 may end a rounding error outside
    rounded = resized.round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(0, 2, 3, 1).numpy())
