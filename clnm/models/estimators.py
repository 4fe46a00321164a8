"""Turns an estimator into bytes and back: skops for scikit-learn, UBJSON for XGBoost, text for LightGBM."""

from __future__ import annotations

import io
import json
import zipfile
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
    """Number the parts, which skops names by their address in memory, and date them 1980 instead of now."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    schema = json.loads(parts.pop("schema.json"))
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}
    _renumber(schema, numbers, names)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, renamed in names.items():
            archive.writestr(zipfile.ZipInfo(renamed, _EPOCH), _without_padding(parts[name]), zipfile.ZIP_DEFLATED)
        schema_bytes = json.dumps(schema, indent=1).encode()
        archive.writestr(zipfile.ZipInfo("schema.json", _EPOCH), schema_bytes, zipfile.ZIP_DEFLATED)
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


def _renumber(node: Any, numbers: dict[int, int], names: dict[str, str]) -> None:
    """Replace addresses in the order they are met, in place; `names` collects part name -> new part name."""
    if isinstance(node, list):
        for item in node:
            _renumber(item, numbers, names)
    elif isinstance(node, dict):
        if "__id__" in node:
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers))
        if isinstance(node.get("file"), str):
            suffix = node["file"].rpartition(".")[2]
            node["file"] = names.setdefault(node["file"], f"{len(names)}.{suffix}")
        for item in node.values():
            _renumber(item, numbers, names)
