"""Every feature set by name, and the version that says which configuration and code filled its columns."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from importlib.metadata import version

from clnm.errors import UserError, nearest

_DEEP = ("crops", "deep", "networks", "program")
_NEITHER = ("__init__", "catalog", "finetune", "learning", "pretext", "robustness", "tuning", "warm", "worker")
"""What learns makes weights, which have a checksum of their own; the others ask for features and make none."""
_MODULES = {"radiomics": None, "deep": _DEEP}
"""The modules whose source decides a set's values; None: all that are not of another set. A change is a new version."""

_LIBRARIES = {
    "radiomics": ("pyradiomics", "SimpleITK", "PyWavelets", "scikit-image"),
    "deep": ("monai", "scipy", "torch"),
}
"""Whose version is part of a set's version: they define its values."""

FEATURE_SETS: tuple[str, ...] = tuple(_MODULES)


def feature_set_version(name: str, parts: Mapping[str, str]) -> str:
    """A short hash over `parts` (parameters, engine, weights), the libraries' versions and the engine's own source.

    Raises:
        UserError: no such feature set.
    """
    if name not in _MODULES:
        raise UserError(f"no feature set {name!r}; {nearest(name, FEATURE_SETS)}")
    libraries = {library: version(library) for library in _LIBRARIES[name]}
    digest = hashlib.sha256(json.dumps({**parts, **libraries}, sort_keys=True).encode())
    package = resources.files("clnm.features")
    for module in engine_modules(name):
        digest.update(package.joinpath(f"{module}.py").read_bytes())
    return digest.hexdigest()[:12]


@functools.cache
def code_digest() -> str:
    """Of all that computes features: a worker that has another one fills the columns of another version."""
    modules = sorted({module for name in FEATURE_SETS for module in engine_modules(name)})
    package = resources.files("clnm.features")
    return hashlib.sha256(b"".join(package.joinpath(f"{module}.py").read_bytes() for module in modules)).hexdigest()


def engine_modules(name: str) -> tuple[str, ...]:
    """The modules of a feature set, sorted."""
    listed = _MODULES[name]
    if listed is not None:
        return listed
    names = [
        path.name.removesuffix(".py")
        for path in resources.files("clnm.features").iterdir()
        if path.name.endswith(".py")
    ]
    return tuple(sorted(module for module in names if module not in (*_DEEP, *_NEITHER)))
