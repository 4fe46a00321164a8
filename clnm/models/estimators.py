"""Turns an estimator into bytes and back: skops for scikit-learn, UBJSON for XGBoost, text for LightGBM."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from clnm.models.zoo import ALGORITHMS

LIBRARY_OF: dict[str, str] = {
    **dict.fromkeys(ALGORITHMS, "scikit-learn"),
    "xgboost": "xgboost-cpu",
    "lightgbm": "lightgbm",
}
"""Distribution whose version decides how a bundle is read."""

TRUSTED_TYPES: tuple[str, ...] = ("sklearn.tree._tree.Tree",)
"""What skops may build beyond the types it trusts itself: the node arrays of scikit-learn's trees."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def dump_estimator(algorithm: str, estimator: Any) -> bytes:
    """The estimator as bytes, the same for the same estimator."""
    if algorithm == "xgboost":
        return bytes(estimator.save_raw(raw_format="ubj"))
    if algorithm == "lightgbm":
        return estimator.model_to_string().encode()
    import skops.io

    return _without_addresses(skops.io.dumps(estimator))


def load_estimator(algorithm: str, content: bytes) -> Any:
    """The inverse of `dump_estimator`; builds no type outside skops' own list and `TRUSTED_TYPES`."""
    if algorithm == "xgboost":
        import xgboost

        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(content))
        return booster
    if algorithm == "lightgbm":
        import lightgbm

        return lightgbm.Booster(model_str=content.decode())
    import skops.io

    return skops.io.loads(content, trusted=list(TRUSTED_TYPES))


def _without_addresses(content: bytes) -> bytes:
    """The same skops file without what differs between equal estimators: addresses in memory, sharing, the clock.

    Every node gets a number of its own, every part the name of its content, every file the date 1980.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        parts = {name: _without_padding(source.read(name)) for name in source.namelist()}
    schema = json.loads(parts.pop("schema.json"))
    names = {name: f"{hashlib.sha256(part).hexdigest()[:32]}.{name.rpartition('.')[2]}" for name, part in parts.items()}
    _renumber(schema, itertools.count(), names)
    renamed = {names[name]: part for name, part in parts.items()}
    renamed["schema.json"] = json.dumps(schema, indent=1).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in sorted(renamed.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), part, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def _without_padding(content: bytes) -> bytes:
    """A tree's node array as npy with zeros in the gaps of its records, where memory leaves what it held before."""
    import numpy as np

    if not content.startswith(b"\x93NUMPY"):
        return content
    nodes = np.load(io.BytesIO(content), allow_pickle=False)
    if nodes.dtype.names is None:
        return content
    clean = np.zeros(nodes.shape, dtype=nodes.dtype)
    for name in nodes.dtype.names:
        clean[name] = nodes[name]
    target = io.BytesIO()
    np.save(target, clean, allow_pickle=False)
    return target.getvalue()


def _renumber(node: Any, numbers: Iterator[int], names: Mapping[str, str]) -> None:
    """Number the nodes in the order they are met and rename the parts they point to, in place."""
    if isinstance(node, list):
        for item in node:
            _renumber(item, numbers, names)
    elif isinstance(node, dict):
        if "__id__" in node:
            node["__id__"] = next(numbers)
        if node.get("file") in names:
            node["file"] = names[node["file"]]
        for item in node.values():
            _renumber(item, numbers, names)
