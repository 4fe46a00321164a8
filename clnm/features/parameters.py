"""A pyradiomics parameter file, read and checked the way pyradiomics itself does."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from clnm.errors import ConfigurationError, nearest

_THREE_DIMENSIONAL = {"shape": "shape2D", "LBP3D": "LBP2D"}


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
    return Parameters(
        image_types={name: dict(options or {}) for name, options in extractor.enabledImagetypes.items()},
        feature_classes={
            name: tuple(features) if features else None for name, features in extractor.enabledFeatures.items()
        },
        settings=dict(extractor.settings),
    )


def _refuse_unknown(file: str, content: Any) -> None:
    """What pyradiomics' own schema refuses without a word of what it would take, or takes and can never compute."""
    sections = ("imageType", "featureClass", "setting", "voxelSetting")
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{file}: a pyradiomics parameter file has the keys imageType, featureClass and setting"
        )
    for key, section in content.items():
        if key not in sections:
            raise ConfigurationError(f"{file}: unknown key {key!r}; {nearest(str(key), sections)}")
        if not isinstance(section, dict | None):
            raise ConfigurationError(f"{file}: {key} is {section!r}; it must be a mapping of names to values")
    image_types, features = content.get("imageType") or {}, content.get("featureClass") or {}
    _refuse_names(file, image_types, features)
    for place, options in (("setting", content.get("setting")), *image_types.items()):
        _refuse_options(f"{file}: {place}", options or {})
    if "LoG" in image_types and not (image_types["LoG"] or {}).get("sigma"):
        raise ConfigurationError(f"{file}: LoG has no sigma; give it a list of numbers in mm")


def _refuse_names(file: str, image_types: Mapping[str, Any], features: Mapping[str, Any]) -> None:
    from radiomics import getFeatureClasses, getImageTypes

    classes = getFeatureClasses()
    for key, entries, known in (("imageType", image_types, getImageTypes()), ("featureClass", features, classes)):
        for entry in entries:
            if entry not in known:
                raise ConfigurationError(f"{file}: unknown {key} {entry!r}; {nearest(str(entry), known)}")
            if entry in _THREE_DIMENSIONAL:
                instead = _THREE_DIMENSIONAL[entry]
                raise ConfigurationError(f"{file}: {key} {entry} is for volumes; pictures have {instead}")
    for feature_class, wanted in features.items():
        known = classes[feature_class].getFeatureNames()
        for feature in wanted or ():
            if feature not in known:
                raise ConfigurationError(
                    f"{file}: no feature {feature!r} in {feature_class}; {nearest(str(feature), known)}"
                )
        if wanted and all(known[feature] for feature in wanted):
            raise ConfigurationError(f"{file}: pyradiomics computes none of the features of {feature_class} any more")


def _refuse_options(place: str, options: Mapping[str, Any]) -> None:
    import pywt

    for option in options:
        if option not in _settings():
            raise ConfigurationError(f"{place}: no setting {option!r}; {nearest(str(option), _settings())}")
    width, wavelet = options.get("binWidth", 1), options.get("wavelet", "coif1")
    if not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ConfigurationError(f"{place}: binWidth is {width!r}; it must be a number above 0")
    spacing = options.get("resampledPixelSpacing")
    if spacing is not None and (not isinstance(spacing, list) or len(spacing) != 2):
        raise ConfigurationError(
            f"{place}: resampledPixelSpacing is {spacing!r}; images have two dimensions, so it is null or two numbers"
        )
    if wavelet not in pywt.wavelist(kind="discrete"):
        known = nearest(str(wavelet), pywt.wavelist(kind="discrete"))
        raise ConfigurationError(f"{place}: no discrete wavelet {wavelet!r}; {known}")


@functools.cache
def _settings() -> frozenset[str]:
    """The settings of pyradiomics' own schema."""
    import yaml

    schema = resources.files("radiomics").joinpath("schemas/paramSchema.yaml").read_text(encoding="utf-8")
    return frozenset(yaml.safe_load(schema)["mapping"]["setting"]["mapping"])
