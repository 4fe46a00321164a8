"""A parameter file that cannot be meant is refused with the key that is wrong and what is allowed there."""

import pytest

from clnm.errors import ConfigurationError
from clnm.features.parameters import fingerprint, read_parameters
from clnm.settings import default_radiomics


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- 1", "has the keys imageType, featureClass and setting"),
        ("setting: [", "is not YAML"),
        ("settings: {binWidth: 5}", r"unknown key 'settings'; did you mean 'setting'"),
        ("imageType: 3", "imageType is 3; it must be a mapping"),
        ("setting: 3", "setting is 3; it must be a mapping"),
        ("imageType: {Wavlet: {}}", r"unknown imageType 'Wavlet'; did you mean 'Wavelet'"),
        ("featureClass: {glcmm: }", r"unknown featureClass 'glcmm'; did you mean 'glcm'"),
        ("featureClass: {glcm: [Contrsat]}", r"no feature 'Contrsat' in glcm; did you mean 'Contrast'"),
        ("setting: {binWdth: 5}", r"setting: no setting 'binWdth'; did you mean 'binWidth'"),
        ("imageType: {LoG: {sigmas: [1]}}", r"LoG: no setting 'sigmas'; did you mean 'sigma'"),
        ("setting: {binWidth: 0}", r"setting: binWidth is 0; it must be a number above 0"),
        ("imageType: {Original: {binWidth: 0}}", r"Original: binWidth is 0; it must be a number above 0"),
        ("imageType: {Original: {binWidth: .nan}}", r"Original: binWidth is nan; it must be a number above 0"),
        ("imageType: {Wavelet: {wavelet: LLH}}", r"Wavelet: no discrete wavelet 'LLH'"),
        ("imageType: {Wavelet: {wavelet: morl}}", r"Wavelet: no discrete wavelet 'morl'"),
        ("imageType: {Wavelet: {wavelet: coif99}}", r"no discrete wavelet 'coif99'; did you mean 'coif9'"),
        ("imageType: {LoG: {sigma: [-1]}}", "pyradiomics refuses it"),
        ("setting: {binWidth: .inf}", r"setting: binWidth is inf; it must be a number above 0"),
        ("setting: {resampledPixelSpacing: [1, 1, 1]}", r"resampledPixelSpacing is \[1, 1, 1\]; images have two dim"),
        ("imageType: {LoG: {}}", r"LoG has no sigma; give it a list of numbers in mm"),
        ("imageType: {LBP3D: {}}", r"imageType LBP3D is for volumes; pictures have LBP2D"),
        ("featureClass: {shape: }", r"featureClass shape is for volumes; pictures have shape2D"),
        ("featureClass: {glcm: [Homogeneity1]}", r"pyradiomics computes none of the features of glcm any more"),
        ("setting: {distances: 3}", "pyradiomics refuses it"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(text, sentence, tmp_path):
    (tmp_path / "radiomics.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=sentence):
        read_parameters(tmp_path / "radiomics.yaml")


def test_the_shipped_file_is_read_and_its_fingerprint_follows_its_content(tmp_path):
    path = tmp_path / "radiomics.yaml"
    path.write_text(default_radiomics(), encoding="utf-8")
    shipped = read_parameters(path)
    assert {"Original", "LoG", "Wavelet", "LBP2D"} <= set(shipped.image_types)
    path.write_text(default_radiomics().replace("binCount: 32", "binCount: 64"), encoding="utf-8")
    assert fingerprint(read_parameters(path)) != fingerprint(shipped)
