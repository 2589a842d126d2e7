"""What an image set's digest is made of: whoever holds its content can compute it again."""

import hashlib
import json
from collections.abc import Sequence


def image_set_digest(*, task: bytes, content: bytes, parts: Sequence[int], prefix: int, seed: int) -> bytes:
    """The sha256 of an image set.

    task: the digest of its classes. content: the sha256 of its file. parts: images of attack, select and report.
    """
    identity = {"task": task.hex(), "content": content.hex(), "parts": list(parts), "prefix": prefix, "seed": seed}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).digest()
