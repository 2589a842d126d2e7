"""Similarity by attack transferability, as a library: `from sat_engine import sat_matrix`.

Nothing is imported until it is asked for, so that programs without torch can use the light modules.
"""

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "Classifier": "sat_engine.classifier",
    "NetworkSpec": "sat_engine.spec",
    "PRESETS": "sat_engine.protocol",
    "Protocol": "sat_engine.protocol",
    "SatMatrix": "sat_engine.matrix",
    "build": "sat_engine.networks",
    "pretrained": "sat_engine.networks",
    "read_folder": "sat_engine.io.folders",
    "sat_matrix": "sat_engine.matrix",
}
__all__ = list(_MODULE_OF)  # names, all of them


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"sat_engine has no {name!r}; it has {', '.join(_MODULE_OF)}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
