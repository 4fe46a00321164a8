"""Keeps a model as a folder of plain files: JSON, and the library's own format for the estimator. Never pickle.

Which version is champion is the store's business, not this module's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clnm.entities import ClinicalVariable, VariableKind
from clnm.errors import StoreError
from clnm.models.calibrate import Line
from clnm.models.estimators import LIBRARY_OF, dump_estimator, load_estimator
from clnm.models.frame import ClinicalEncoder
from clnm.models.model import Model, Representation
from clnm.models.signatures import Signature

BUNDLE_FORMAT = 1
MANIFEST = "manifest.json"
_ESTIMATOR = "estimator"
_MODEL = "model.json"


def bundle_files(model: Model, meta: Mapping[str, Any]) -> dict[str, bytes]:
    """The bundle as file name -> bytes: the same model and meta give the same bytes on the same library versions.

    `meta` is any JSON value (training moment, counts, feature set); it is kept beside the model and covered by the sum.
    """
    files = {_MODEL: _json(_describe(model))}
    if model.estimator is not None:
        files[_ESTIMATOR] = dump_estimator(model.algorithm, model.estimator)
    library = LIBRARY_OF.get(model.algorithm)
    manifest = {
        "format": BUNDLE_FORMAT,
        "algorithm": model.algorithm,
        "library": library,
        "library_version": _version(library),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
        "meta": dict(meta),
    }
    return {**files, MANIFEST: _json(manifest)}


def bundle_sha256(files: Mapping[str, bytes]) -> str:
    """The one checksum that stands for a bundle: of its manifest, which holds the sums of the other files."""
    return hashlib.sha256(files[MANIFEST]).hexdigest()


def save_bundle(model: Model, directory: Path, *, meta: Mapping[str, Any]) -> str:
    """Write the bundle to `directory` (whole or not at all) and return its sha256.

    Saving the same bundle again changes nothing. Raises `StoreError` where another bundle is there already: a model
    version is never overwritten.
    """
    files = bundle_files(model, meta)
    sha256 = bundle_sha256(files)
    if directory.exists():
        if _read_sha256(directory) != sha256:
            raise StoreError(f"model version {directory.name} exists and holds another model; versions never change")
        return sha256
    scratch = directory.with_name(f".{directory.name}.{os.getpid()}.scratch")
    scratch.mkdir(parents=True)
    try:
        for name, content in files.items():
            _write_synced(scratch / name, content)
        scratch.rename(directory)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise StoreError(f"model version {directory.name} cannot be written ({error.strerror})") from None
    _sync_folder(directory.parent)
    return sha256


def load_bundle(directory: Path, *, sha256: str | None = None) -> Model:
    """Read a bundle back. With `sha256` (the registry's), also a bundle rewritten whole is refused.

    Raises `StoreError` where a file is missing or altered, the checksum is another, or the model was kept by a library
    version whose files this one may read differently.
    """
    manifest = read_manifest(directory, sha256=sha256)
    if manifest.get("format") != BUNDLE_FORMAT:
        raise StoreError(f"model version {directory.name} has bundle format {manifest.get('format')}; train again")
    library, version = manifest["library"], manifest["library_version"]
    if _minor(version) != _minor(_version(library)):
        raise StoreError(
            f"model version {directory.name} was kept by {library} {version}, installed is {_version(library)}; "
            "run `clnm train`, or install that version"
        )
    contents = {name: _read_checked(directory, name, digest) for name, digest in manifest["files"].items()}
    estimator = None
    if _ESTIMATOR in contents:
        estimator = _load_trusted(directory.name, manifest["algorithm"], contents[_ESTIMATOR])
    return _restore(json.loads(contents[_MODEL]), estimator)


def read_manifest(directory: Path, *, sha256: str | None = None) -> dict[str, Any]:
    """The bundle's manifest (algorithm, sums, meta); raises `StoreError` as `load_bundle` does."""
    try:
        content = (directory / MANIFEST).read_bytes()
    except OSError:
        raise StoreError(f"model version {directory.name} has no readable manifest; run `clnm store verify`") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(f"model version {directory.name} does not match its checksum in the registry; do not use it")
    try:
        manifest = json.loads(content)
    except ValueError:
        raise StoreError(f"model version {directory.name} has a damaged manifest; run `clnm store verify`") from None
    if not isinstance(manifest, dict):
        raise StoreError(f"model version {directory.name} has a damaged manifest; run `clnm store verify`")
    return manifest


def _describe(model: Model) -> dict[str, Any]:
    representation = model.representation
    return {
        "algorithm": model.algorithm,
        "outcome": model.outcome,
        "encoder": asdict(representation.encoder),
        "radiomics": None if representation.radiomics is None else asdict(representation.radiomics),
        "deep": None if representation.deep is None else asdict(representation.deep),
        "embedding_length": representation.embedding_length,
        "fusion": asdict(model.fusion),
        "link": asdict(model.link),
        "threshold": model.threshold,
        "network": model.network,
    }


def _restore(described: Mapping[str, Any], estimator: Any) -> Model:
    encoder = described["encoder"]
    variables = tuple(
        ClinicalVariable(**{**variable, "kind": VariableKind(variable["kind"]), "levels": tuple(variable["levels"])})
        for variable in encoder["variables"]
    )
    representation = Representation(
        ClinicalEncoder(variables, tuple(encoder["fill"])),
        _signature(described["radiomics"]),
        _signature(described["deep"]),
        described["embedding_length"],
    )
    fusion = _signature(described["fusion"])
    assert fusion is not None
    return Model(
        algorithm=described["algorithm"],
        outcome=described["outcome"],
        representation=representation,
        fusion=fusion,
        estimator=estimator,
        link=Line(**described["link"]),
        threshold=described["threshold"],
        network=described.get("network", ""),
    )


def _signature(described: Mapping[str, Any] | None) -> Signature | None:
    return None if described is None else Signature(**{name: tuple(values) for name, values in described.items()})


def _load_trusted(version: str, algorithm: str, content: bytes) -> Any:
    try:
        return load_estimator(algorithm, content)
    except Exception as error:  # noqa: BLE001  each library raises its own; none of them means the file is good
        raise StoreError(
            f"model version {version}: its estimator cannot be read ({type(error).__name__}); do not use it"
        ) from None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _version(library: str | None) -> str:
    from importlib.metadata import version

    return version(library) if library else ""


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _read_sha256(directory: Path) -> str:
    try:
        return hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return ""


def _read_checked(directory: Path, name: str, digest: str) -> bytes:
    if name not in (_MODEL, _ESTIMATOR):
        raise StoreError(f"model version {directory.name} names a file that is none of a bundle's; do not use it")
    try:
        content = (directory / name).read_bytes()
    except OSError:
        raise StoreError(f"model version {directory.name} lacks its {name}; run `clnm store verify`") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise StoreError(f"model version {directory.name}: {name} was altered after it was saved; do not use it")
    return content


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
