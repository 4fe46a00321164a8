"""What lies under the probe: tissue layers and a lesion, as maps of echo strength, scatterer density and attenuation.

All maps lie on the pixel grid of the ultrasound region (rows = depth). Nothing here draws speckle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clnm.simulate.cohort import Case
from clnm.simulate.scanners import Scanner

Map = NDArray[np.float32]

TISSUE_SCATTERERS_PER_MM2 = 45.0
"""About 15 in a resolution cell: fully developed speckle."""
LESION_SCATTERERS_PER_MM2 = 8.0
"""For a lesion of latent density 0; a factor e^0.8 per standard deviation."""
_SKIN_DB, _FAT_DB, _GLAND_DB, _MUSCLE_DB = 9.0, -9.0, 0.0, -8.0


@dataclass(frozen=True, slots=True)
class Lesion:
    """A lesion's shape: a wavy ellipse around a center, in millimetres."""

    row_mm: float
    column_mm: float
    half_height_mm: float
    half_width_mm: float
    amplitudes: NDArray[np.float64]
    """Relative radius change of the k-th harmonic, k = 2, 3, …"""
    phases: NDArray[np.float64]
    edge_mm: float
    """Width of the transition to the gland."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The maps that make an image."""

    echo_db: Map
    """Backscatter against the gland."""
    scatterers_per_mm2: Map
    attenuation_db: Map
    """Two-way loss from the surface down to each pixel beyond what the machine's TGC makes up for."""
    lesion: Lesion


def draw_lesion(case: Case, scanner: Scanner, generator: np.random.Generator) -> Lesion:
    """Place and shape: irregular shapes have strong low harmonics, unclear edges spicules and a wide transition."""
    height_mm, width_mm = (side * scanner.spacing_mm for side in scanner.region_px)
    half_width = case.size_mm / 2
    half_height = half_width * generator.uniform(0.62, 0.92)
    is_irregular, is_unclear = case.findings["tumor_shape"] == "irregular", case.findings["tumor_edge"] == "unclear"
    harmonics = np.arange(2, 18)
    amplitudes = generator.normal(0, 1, harmonics.size) * (0.085 if is_irregular else 0.025) / (harmonics - 1.0) ** 0.7
    amplitudes[6:] += generator.normal(0, 0.022 if is_unclear else 0.003, harmonics.size - 6)
    top, bottom = 5.5 + half_height, height_mm - 6.0 - half_height
    return Lesion(
        row_mm=float(np.clip(generator.normal(14.0, 1.5), top, max(top, bottom))),
        column_mm=width_mm / 2 + generator.uniform(-0.16, 0.16) * (width_mm - 2 * half_width),
        half_height_mm=half_height,
        half_width_mm=half_width,
        amplitudes=amplitudes,
        phases=generator.uniform(0, 2 * np.pi, harmonics.size),
        edge_mm=generator.uniform(0.9, 1.4) if is_unclear else generator.uniform(0.15, 0.3),
    )


def signed_distance_mm(lesion: Lesion, scanner: Scanner) -> Map:
    """Distance to the contour along the ray from the lesion's center, positive inside, shape `region_px`."""
    down, across = _offsets_mm(lesion, scanner)
    angle = np.arctan2(down / lesion.half_height_mm, across / lesion.half_width_mm)
    radius = np.hypot(down / lesion.half_height_mm, across / lesion.half_width_mm)
    mean_mm = np.sqrt(lesion.half_height_mm * lesion.half_width_mm)
    return ((_contour(lesion, angle) - radius) * mean_mm).astype(np.float32)


def reader_mask(lesion: Lesion, scanner: Scanner, generator: np.random.Generator) -> NDArray[np.bool_]:
    """The contour as a reader draws it: the lesion's own, smoothed, with slow jitter and about 1.5 % too large."""
    smooth = lesion.amplitudes.copy()
    smooth[8:] *= 0.3
    smooth[:4] += generator.normal(0, 0.012, 4)
    scale = 1 + abs(generator.normal(0.015, 0.015))
    drawn = Lesion(
        lesion.row_mm + generator.normal(0, 0.12),
        lesion.column_mm + generator.normal(0, 0.12),
        lesion.half_height_mm * scale,
        lesion.half_width_mm * scale,
        smooth,
        lesion.phases,
        lesion.edge_mm,
    )
    return signed_distance_mm(drawn, scanner) > 0


def build_anatomy(case: Case, scanner: Scanner, generator: np.random.Generator) -> Anatomy:
    """Layers, lesion, calcifications and the shadows they throw, for one case on one scanner."""
    echo_db, density = _layers(scanner, generator)
    lesion = draw_lesion(case, scanner, generator)
    inside_mm = signed_distance_mm(lesion, scanner)
    share = 1 / (1 + np.exp(np.clip(-inside_mm / (lesion.edge_mm / 2.2), -30, 30)))
    lesion_db = -10.5 + 2.8 * case.latents["echogenicity"] + _foci_db(case, lesion, scanner, generator)
    echo_db += share * (lesion_db - echo_db)
    if case.findings["tumor_edge"] == "clear":
        echo_db += 3.0 * np.exp(-(((inside_mm + 0.35) / 0.25) ** 2))  # the thin bright halo of a sharp border
    lesion_density = LESION_SCATTERERS_PER_MM2 * float(np.exp(0.8 * np.clip(case.latents["density"], -3, 3)))
    density += share * (lesion_density - density)
    loss_db_per_mm = share * np.float32(generator.normal(-0.12, 0.04))  # a dark lesion absorbs less: enhancement behind
    if case.findings["calcification"] == "1":
        _calcify(echo_db, loss_db_per_mm, lesion, scanner, generator)
    slope_db_per_mm = generator.normal(0.0, 0.06)  # what the TGC sliders leave
    depth_mm = np.arange(scanner.region_px[0], dtype=np.float32)[:, None] * scanner.spacing_mm
    loss_db = np.cumsum(loss_db_per_mm, axis=0, dtype=np.float32) * scanner.spacing_mm + slope_db_per_mm * depth_mm
    return Anatomy(echo_db.astype(np.float32), density.astype(np.float32), loss_db.astype(np.float32), lesion)


def _layers(scanner: Scanner, generator: np.random.Generator) -> tuple[Map, Map]:
    """Skin, fat with septa, gland, muscle with bright strands; wavy borders with a bright fascia."""
    rows, columns = scanner.region_px
    depth = np.arange(rows, dtype=np.float32)[:, None] * scanner.spacing_mm
    x = np.arange(columns, dtype=np.float32) * scanner.spacing_mm
    muscle_mm = rows * scanner.spacing_mm - generator.uniform(4.0, 6.5)
    borders = [
        _wavy(x, 1.4, 0.05, generator),
        _wavy(x, generator.uniform(3.2, 4.6), 0.35, generator),
        _wavy(x, muscle_mm, 0.5, generator),
    ]
    echo_db = np.full((rows, columns), _SKIN_DB, dtype=np.float32)
    for border, above, below in zip(
        borders, (_SKIN_DB, _FAT_DB, _GLAND_DB), (_FAT_DB, _GLAND_DB, _MUSCLE_DB), strict=True
    ):
        echo_db += (below - above) / (1 + np.exp(np.clip(-(depth - border) / 0.12, -30, 30)))
        echo_db += generator.uniform(11, 16) * np.exp(-(((depth - border) / 0.16) ** 2))
    for _ in range(int(generator.integers(3, 6))):  # septa in the fat, strands in the muscle: thin oblique reflectors
        for top, bottom, tilt in ((1.6, borders[1].mean(), 0.12), (muscle_mm + 0.6, muscle_mm + 6.0, 0.05)):
            line = generator.uniform(top, bottom) + generator.normal(0, tilt) * (x - generator.uniform(0, x[-1]))
            line = line + 0.1 * np.sin(x / generator.uniform(1.0, 3.0))
            length = np.exp(-(((x - generator.uniform(0, x[-1])) / generator.uniform(4, 12)) ** 2))
            is_in = (line > top) & (line < bottom)
            echo_db += is_in * length * generator.uniform(13, 20) * np.exp(-(((depth - line) / 0.11) ** 2))
    for _ in range(24):  # lobules: slow changes of the gland's echo
        _add_blob(
            echo_db,
            scanner,
            (generator.uniform(0, depth[-1, 0]), generator.uniform(0, x[-1])),
            generator.uniform(1.2, 4.0),
            generator.normal(0, 2.2),
        )
    return echo_db, np.full((rows, columns), TISSUE_SCATTERERS_PER_MM2, dtype=np.float32)


def _foci_db(case: Case, lesion: Lesion, scanner: Scanner, generator: np.random.Generator) -> Map:
    """Echo foci inside the lesion: one per 2 mm2, 0.5 to 1.3 mm wide; their contrast is the latent heterogeneity."""
    field = np.zeros(scanner.region_px, dtype=np.float32)
    contrast_db = 3.0 * float(np.exp(0.48 * np.clip(case.latents["heterogeneity"], -3, 3.5)))
    area_mm2 = 4 * lesion.half_height_mm * lesion.half_width_mm
    for _ in range(int(area_mm2 / 2)):
        row = lesion.row_mm + generator.uniform(-1.1, 1.1) * lesion.half_height_mm
        column = lesion.column_mm + generator.uniform(-1.1, 1.1) * lesion.half_width_mm
        _add_blob(field, scanner, (row, column), generator.uniform(0.5, 1.3), generator.normal(0, contrast_db))
    return field


def _calcify(
    echo_db: Map, loss_db_per_mm: Map, lesion: Lesion, scanner: Scanner, generator: np.random.Generator
) -> None:
    """Four to nine bright specks of 0.15 to 0.45 mm; each takes a few decibels from everything below it."""
    for _ in range(int(generator.integers(4, 10))):
        angle, radius = generator.uniform(0, 2 * np.pi), 0.75 * np.sqrt(generator.random())
        row = lesion.row_mm + radius * np.sin(angle) * lesion.half_height_mm
        column = lesion.column_mm + radius * np.cos(angle) * lesion.half_width_mm
        size_mm = generator.uniform(0.15, 0.45)
        _add_blob(echo_db, scanner, (row, column), size_mm, generator.uniform(20, 27))
        loss_db = generator.uniform(1.5, 7.0) * size_mm / 0.45
        _add_blob(loss_db_per_mm, scanner, (row, column), size_mm, loss_db / (np.sqrt(np.pi) * size_mm))


def _add_blob(field: Map, scanner: Scanner, place_mm: tuple[float, float], size_mm: float, height: float) -> None:
    """Add `height exp(-r^2 / size^2)` in place, cut off at three sizes."""
    row_mm, column_mm = place_mm
    step = scanner.spacing_mm
    reach = 3 * size_mm
    rows = slice(max(0, int((row_mm - reach) / step)), max(0, int((row_mm + reach) / step) + 1))
    columns = slice(max(0, int((column_mm - reach) / step)), max(0, int((column_mm + reach) / step) + 1))
    patch = field[rows, columns]
    down = (np.arange(rows.start, rows.start + patch.shape[0], dtype=np.float32) * step - row_mm) / size_mm
    across = (np.arange(columns.start, columns.start + patch.shape[1], dtype=np.float32) * step - column_mm) / size_mm
    patch += np.float32(height) * np.exp(-(down**2))[:, None] * np.exp(-(across**2))[None, :]


def _wavy(x: Map, mean_mm: float, height_mm: float, generator: np.random.Generator) -> Map:
    wave = sum(
        generator.normal(0, height_mm) / k * np.sin(2 * np.pi * k * x / (x[-1] * 1.3) + generator.uniform(0, 6.3))
        for k in (1, 2, 3)
    )
    return (mean_mm + wave).astype(np.float32)


def _contour(lesion: Lesion, angle: Map) -> Map:
    table_angle = np.linspace(-np.pi, np.pi, 721)
    harmonics = np.arange(2, 2 + lesion.amplitudes.size)
    table = 1 + (lesion.amplitudes[:, None] * np.cos(np.outer(harmonics, table_angle) + lesion.phases[:, None])).sum(0)
    return np.interp(angle, table_angle, np.clip(table, 0.55, 1.6)).astype(np.float32)


def _offsets_mm(lesion: Lesion, scanner: Scanner) -> tuple[Map, Map]:
    rows, columns = scanner.region_px
    down = np.arange(rows, dtype=np.float32)[:, None] * scanner.spacing_mm - lesion.row_mm
    across = np.arange(columns, dtype=np.float32)[None, :] * scanner.spacing_mm - lesion.column_mm
    return np.broadcast_arrays(down, across)  # type: ignore[return-value]
