"""A pyradiomics parameter file, read and checked the way pyradiomics itself does."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clnm.errors import ConfigurationError, nearest


@dataclass(frozen=True, slots=True)
class Parameters:
    """What to compute: image types with their options, feature classes (None: all of the class), settings."""

    image_types: Mapping[str, Mapping[str, Any]]
    feature_classes: Mapping[str, tuple[str, ...] | None]
    settings: Mapping[str, Any]

    def options(self, image_type: str) -> dict[str, Any]:
        """The settings in force for one image type: the file's, then the type's own."""
        return {**self.settings, **self.image_types[image_type]}


def read_parameters(path: Path) -> Parameters:
    """Read a parameter file.

    Raises:
        ConfigurationError: it is missing, or pyradiomics' own schema refuses it; the sentence names the key.
    """
    import yaml

    if not path.is_file():
        raise ConfigurationError(f"[radiomics] params: no file {path.name}; give a pyradiomics parameter file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path.name} is not YAML: {str(error).splitlines()[0]}") from None
    _refuse_unknown(path.name, content)
    return _as_pyradiomics_reads(path)


def fingerprint(parameters: Parameters) -> str:
    """A hash of everything that can change a value."""
    content = {
        "image_types": {name: dict(options) for name, options in parameters.image_types.items()},
        "feature_classes": {
            name: features and sorted(features) for name, features in parameters.feature_classes.items()
        },
        "settings": dict(parameters.settings),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _as_pyradiomics_reads(path: Path) -> Parameters:
    import radiomics
    from pykwalify.errors import PyKwalifyException
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    radiomics.setVerbosity(logging.CRITICAL)
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    logging.getLogger("pykwalify").setLevel(logging.CRITICAL)
    try:
        extractor = RadiomicsFeatureExtractor(str(path))
    except (PyKwalifyException, ValueError, TypeError) as error:
        sentence = " ".join(str(getattr(error, "msg", error)).split())
        raise ConfigurationError(f"{path.name}: pyradiomics refuses it: {sentence}") from None
    _check_features(path.name, extractor.enabledFeatures)
    return Parameters(
        image_types={name: dict(options or {}) for name, options in extractor.enabledImagetypes.items()},
        feature_classes={
            name: tuple(features) if features else None for name, features in extractor.enabledFeatures.items()
        },
        settings=dict(extractor.settings),
    )


def _refuse_unknown(name: str, content: Any) -> None:
    from radiomics import getFeatureClasses, getImageTypes

    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{name}: a pyradiomics parameter file has the keys imageType, featureClass and setting"
        )
    known = {"imageType", "featureClass", "setting", "voxelSetting"}
    allowed = {"imageType": list(getImageTypes()), "featureClass": list(getFeatureClasses())}
    for key in content:
        if key not in known:
            raise ConfigurationError(f"{name}: unknown key {key!r}; {nearest(str(key), known)}")
    for key, names in allowed.items():
        for entry in content.get(key) or {}:
            if entry not in names:
                raise ConfigurationError(f"{name}: unknown {key} {entry!r}; {nearest(str(entry), names)}")
    widths = (content.get("setting") or {}).get("binWidth", 1)
    if not isinstance(widths, int | float) or widths <= 0:
        raise ConfigurationError(f"{name}: setting binWidth is {widths!r}; it must be a number above 0")


def _check_features(name: str, enabled: Mapping[str, Any]) -> None:
    from radiomics import getFeatureClasses

    classes = getFeatureClasses()
    for feature_class, features in enabled.items():
        known = list(classes[feature_class].getFeatureNames())
        for feature in features or ():
            if feature not in known:
                raise ConfigurationError(
                    f"{name}: no feature {feature!r} in {feature_class}; {nearest(feature, known)}"
                )
