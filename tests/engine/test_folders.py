"""Labelled images from a folder: what is no image, whatever its name says, is refused by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sat_engine.io.folders import FolderError, read_folder


def test_a_script_that_is_called_an_image_is_not_run(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        Image.new("L", (9, 12), 100 * number).save(tmp_path / name / "flat.png")
    images, labels, names = read_folder(tmp_path, 8)
    assert (images.shape, labels.tolist(), names) == ((2, 8, 8, 3), [0, 1], ("a", "b"))
    np.testing.assert_array_equal(images[1], np.full((8, 8, 3), 100))
    # Pillow goes by the content, and has Ghostscript run it
    script = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a" / "script.png").write_text(script)
    with pytest.raises(FolderError, match=r"script\.png cannot be read as an image"):
        read_folder(tmp_path, 8)
