"""Image formation: point scatterers, a point-spread function that widens away from the focus, log compression.

Speckle comes from the interference of scatterers alone; no texture is drawn in the image.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from clnm.simulate.anatomy import Anatomy
from clnm.simulate.scanners import Scanner

SOUND_MM_PER_US = 1.54
_AXIAL_SIGMA_WAVELENGTHS = 0.85
_LATERAL_SIGMA_WAVELENGTHS = 1.5
_FOCAL_ZONE_MM = 11.0
_NOISE_DB_AT_40_MM = -34.0
"""Electronic noise against the gland; 0.7 dB per mm less at the surface, as the TGC amplifies it with depth."""
_DIFFUSE_FRACTION = np.float32(0.12)
"""Of the echo's power: from scatterers too many and too small to count, between the counted ones."""
_GLAND_GREY_FRACTION = 0.54
"""Where the gland's mean echo lies on the grey scale at a gain of 0 dB."""


def scatter(anatomy: Anatomy, spacing_mm: float, generator: np.random.Generator) -> NDArray[np.complex64]:
    """The field of scatterers: a Poisson number per pixel, each a complex Gaussian reflector, strength by echo map.

    The sum of n such reflectors is complex Gaussian of variance n, so one draw per pixel suffices. The echo strength
    is divided by the density: where scatterers are few, each is stronger, and the mean echo stays.
    """
    shape = anatomy.echo_db.shape
    expected = anatomy.scatterers_per_mm2 * np.float32(spacing_mm**2)
    count = _poisson(expected, generator.random(shape, dtype=np.float32))
    power = _DIFFUSE_FRACTION + (1 - _DIFFUSE_FRACTION) * count / expected
    strength = np.sqrt(power) * _amplitude(anatomy.echo_db - anatomy.attenuation_db)
    field = np.empty(shape, dtype=np.complex64)
    field.real = generator.standard_normal(shape, dtype=np.float32) * strength
    field.imag = generator.standard_normal(shape, dtype=np.float32) * strength
    return field


def envelope(
    field: NDArray[np.complex64], scanner: Scanner, generator: np.random.Generator | None = None
) -> NDArray[np.float32]:
    """The detected echo of a scatterer field, shape (rows, columns); in plain gland its mean square is 2.

    The point-spread function is Gaussian. Axially it is one pulse length; laterally `sigma(z) = sigma_focus
    sqrt(1 + ((z - focus) / zone)^2)`, the width of a focused Gaussian beam, applied exactly at each depth as a product
    in the lateral Fourier domain. With a `generator`, electronic noise is added.
    """
    echo = point_spread(field, scanner)
    if generator is not None:
        depth_mm = np.arange(field.shape[0], dtype=np.float32)[:, None] * scanner.spacing_mm
        level = _amplitude(_NOISE_DB_AT_40_MM + 0.7 * (depth_mm - 40.0))
        echo.real += level * generator.standard_normal(field.shape, dtype=np.float32)
        echo.imag += level * generator.standard_normal(field.shape, dtype=np.float32)
    return np.abs(echo)


def point_spread(field: NDArray[np.complex64], scanner: Scanner) -> NDArray[np.complex64]:
    """`field` through the point-spread function, which is scaled to leave white noise's power as it is."""
    rows, columns = field.shape
    wavelength_px = SOUND_MM_PER_US / scanner.frequency_mhz / scanner.spacing_mm
    depth_mm = np.arange(rows, dtype=np.float32) * scanner.spacing_mm
    widening = np.sqrt(1 + ((depth_mm - scanner.focus_mm) / _FOCAL_ZONE_MM) ** 2)
    lateral_px = _LATERAL_SIGMA_WAVELENGTHS * wavelength_px * widening
    axial_px = _AXIAL_SIGMA_WAVELENGTHS * wavelength_px
    padded_rows, padded_columns = fft.next_fast_len(rows + 16), fft.next_fast_len(columns + 32)
    spectrum = fft.fft(field, n=padded_columns, axis=1)
    spectrum *= _gaussian_response(lateral_px[:, None], fft.fftfreq(padded_columns)[None, :])
    echo = fft.ifft(spectrum, axis=1, overwrite_x=True)[:, :columns]
    spectrum = fft.fft(echo, n=padded_rows, axis=0)
    spectrum *= _gaussian_response(np.float32(axial_px), fft.fftfreq(padded_rows)[:, None])
    return fft.ifft(spectrum, axis=0, overwrite_x=True)[:rows].astype(np.complex64, copy=False)


def compress(echo: NDArray[np.float32], scanner: Scanner) -> NDArray[np.uint8]:
    """Envelope to grey: decibels against the gland, `dynamic_range_db` over 255 steps, shifted by the gain."""
    level_db = 10 * np.log10(np.maximum(echo * echo / 2, np.float32(1e-12)))
    grey = (level_db + scanner.gain_db) / scanner.dynamic_range_db + _GLAND_GREY_FRACTION
    return np.clip(np.rint(255 * grey), 0, 255).astype(np.uint8)


def _gaussian_response(
    sigma_px: NDArray[np.float32] | np.float32, frequency: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The Fourier transform of a Gaussian of unit energy: `sqrt(2 sigma sqrt(pi)) exp(-2 (pi f sigma)^2)`."""
    scale = np.sqrt(2 * math.sqrt(math.pi) * sigma_px)
    return (scale * np.exp(-2 * (math.pi * frequency * sigma_px) ** 2)).astype(np.float32)


def _poisson(expected: NDArray[np.float32], uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Poisson counts by inversion, exact up to 7; expected counts here are below 1."""
    term = np.exp(-expected)
    below = term.copy()
    count = np.zeros_like(expected)
    for k in range(1, 8):
        count += uniform > below
        term *= expected / np.float32(k)
        below += term
    return count


def _amplitude(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.exp(np.float32(math.log(10) / 20) * decibels, dtype=np.float32)
