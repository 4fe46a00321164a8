"""Setting up an installation, and examining one: what is configured, reachable, installed, and what to mend."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import Any

from clnm.archive.dicomweb import AwayError
from clnm.errors import ConfigurationError, UserError
from clnm.pipeline.installation import Installation, open_installation
from clnm.pipeline.linking import make_link_key_files
from clnm.settings import default_radiomics, make_pseudonym_key, template


def write_installation(directory: Path) -> dict[str, str]:
    """Write `clnm.toml`, `radiomics.yaml` and a pseudonym key under `directory`.

    Raises:
        ConfigurationError: there is a `clnm.toml` already.
    """
    config = directory / "clnm.toml"
    if config.exists():
        raise ConfigurationError(f"{config} is there already; nothing was changed")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        config.write_text(template(), encoding="utf-8")
        parameters = directory / "radiomics.yaml"
        if not parameters.exists():
            parameters.write_text(default_radiomics(), encoding="utf-8")
        key = directory / "secrets" / "pseudonym.key"
        make_pseudonym_key(key)
        link_key = key.with_name("link.key")
        make_link_key_files(link_key, link_key.with_suffix(".pub"))
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be written: {error.strerror}") from None
    return {"config": str(config), "key": str(key), "link_key": str(link_key)}


def examine_installation(config: Path) -> list[dict[str, Any]]:
    """One line per thing examined, `ok` or to mend; settings that cannot be read are an error at once."""
    installation = open_installation(config)
    findings = [
        {
            "ok": True,
            "what": f"{config.name}: {len(installation.centers)} center(s), "
            f"{len(installation.settings.clinical)} clinical variable(s)",
        }
    ]
    findings.append(_check("pseudonym key", installation.pseudonyms))
    for center in installation.settings.center:
        for number, entry in enumerate(center.archive):
            what = f"center {center.name}: archive {center.name}/{number}"
            findings.append(_answering(what, installation, entry, center.name))
        for key in ("index", "clinical", "outcomes"):
            value = getattr(center, key)
            if value is not None:
                findings.append(_reachable(f"center {center.name}: {key} table", installation.path(value)))
    findings.append(_check("radiomics parameters", lambda: _read_parameters(installation)))
    findings.append(_writable(installation.root))
    if installation.settings.deep.enabled and installation.settings.deep.weights:
        findings.append(_reachable("[deep] weights", installation.path(installation.settings.deep.weights)))
    findings.extend(_installed(name) for name in ("prefect", "distributed", "torch", "pyradiomics", "duckdb"))
    return findings


def _read_parameters(installation: Installation) -> None:
    from clnm.features.parameters import read_parameters

    read_parameters(installation.path(installation.settings.radiomics.params))


def _check(what: str, attempt: Any) -> dict[str, Any]:
    try:
        attempt()
    except UserError as error:
        return {"ok": False, "what": f"{what}: {error}"}
    return {"ok": True, "what": what}


def _reachable(what: str, path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"ok": False, "what": f"{what} is not there; mend the path in clnm.toml or mount it"}
    if not os.access(path, os.R_OK):
        return {"ok": False, "what": f"{what} cannot be read by this user"}
    return {"ok": True, "what": f"{what} is readable"}


def _answering(what: str, installation: Installation, entry: str, center: str) -> dict[str, Any]:
    try:
        root = installation.root_of(entry, center)
        if isinstance(root, Path):
            return _reachable(what, root)
        root.greet()
    except (AwayError, ConfigurationError) as error:
        return {"ok": False, "what": f"{what}: {error}"}
    return {"ok": True, "what": f"{what} answers"}


def _writable(root: Path) -> dict[str, Any]:
    nearest_folder = next(folder for folder in (root, *root.parents) if folder.exists())
    return {"ok": os.access(nearest_folder, os.W_OK), "what": "the store's folder is writable by this user"}


def _installed(name: str) -> dict[str, Any]:
    try:
        return {"ok": True, "what": f"{name} {importlib.metadata.version(name)} is installed"}
    except importlib.metadata.PackageNotFoundError:
        return {"ok": False, "what": f"{name} is not installed; run `make setup`"}
