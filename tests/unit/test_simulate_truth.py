import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from clnm.simulate.anatomy import Anatomy, build_anatomy, reader_mask, signed_distance_mm
from clnm.simulate.cohort import (
    CHANCES,
    IN_PIXELS,
    IN_TABLES,
    SHIFTS,
    Drift,
    DriftKind,
    area_under_curve,
    center_sizes,
    draw_cohort,
    log_likelihood_ratio,
)
from clnm.simulate.scanners import CENTERS
from clnm.simulate.speckle import compress, envelope, scatter

UNTIL = datetime(2026, 2, 1, tzinfo=UTC)
SCANNER = CENTERS[0].scanner


@pytest.fixture(scope="module")
def large():
    return draw_cohort(6000, 3, UNTIL)


def test_214_patients_are_144_to_train_on_and_70_external_of_whom_27_percent_are_positive():
    cases = draw_cohort(214, 2025, UNTIL)
    sizes = center_sizes(214)
    assert sizes == [80, 64, 38, 32]
    for center, size in zip(CENTERS, sizes, strict=True):
        of = [c for c in cases if c.center == center.name]
        assert sum(c.outcome for c in of) == round(0.27 * size)
        assert sum(c.is_current for c in of) == round(size / 3)


@pytest.mark.parametrize("patients", [16, 17, 24, 40, 100, 215])
def test_any_cohort_adds_up_with_at_least_four_per_center(patients):
    assert sum(center_sizes(patients)) == patients
    assert min(center_sizes(patients)) >= 4


def test_the_best_possible_auc_is_high_and_neither_pictures_nor_tables_alone_reach_it(large):
    outcome = [c.outcome for c in large]

    def auc(names):
        return area_under_curve(outcome, [log_likelihood_ratio(c.latents, c.findings, variables=names) for c in large])

    best = area_under_curve(outcome, [c.posterior for c in large])
    assert 0.93 < best < 0.96
    assert 0.80 < auc(IN_TABLES) < 0.88
    assert 0.85 < auc(IN_PIXELS) < 0.93


def test_the_posterior_is_calibrated(large):
    posterior = np.array([c.posterior for c in large])
    outcome = np.array([c.outcome for c in large])
    for low, high in ((0.0, 0.1), (0.1, 0.4), (0.4, 0.7), (0.7, 1.0)):
        chosen = (posterior >= low) & (posterior < high)
        tolerance = 4 * math.sqrt(0.25 / chosen.sum())
        assert abs(outcome[chosen].mean() - posterior[chosen].mean()) < tolerance


def test_a_likelihood_ratio_worked_by_hand():
    latents = dict.fromkeys(SHIFTS, 0.0) | {"age": 1.0}
    findings = {name: next(iter(chances[0])) for name, chances in CHANCES.items()} | {"us_cln_positive": "1"}
    ratio = log_likelihood_ratio(latents, findings, variables=("age", "us_cln_positive"))
    assert ratio == pytest.approx(-0.30 - 0.30**2 / 2 + math.log(0.60 / 0.12))


def test_area_under_curve_worked_by_hand():
    assert area_under_curve([True, False, True, False], [0.9, 0.1, 0.4, 0.4]) == pytest.approx(3.5 / 4)
    assert math.isnan(area_under_curve([True], [0.5]))


def test_chances_add_up_to_one():
    for pair in CHANCES.values():
        for chances in pair:
            assert sum(chances.values()) == pytest.approx(1.0)


def test_exams_lie_in_working_hours_of_weekdays_within_395_days_and_the_current_third_within_30(large):
    for case in large:
        age = UNTIL - case.exam_at
        assert timedelta(0) < age <= timedelta(days=395)
        assert case.is_current == (age <= timedelta(days=30))
        assert 8 <= case.exam_at.hour < 17
        assert case.exam_at.weekday() < 5
        assert 2 <= (case.known_on - case.exam_at.date()).days <= 10


@pytest.mark.parametrize("kind", list(DriftKind))
def test_drift_touches_only_current_cases_of_its_center(kind):
    plain, drifted = draw_cohort(214, 2025, UNTIL), draw_cohort(214, 2025, UNTIL, [Drift("C3", kind)])
    touched = [b for a, b in zip(plain, drifted, strict=True) if a != b]
    assert touched
    assert all(case.center == "C3" and case.is_current for case in touched)


def test_prevalence_drift_makes_60_percent_positive_and_label_drift_turns_the_texture_round():
    many = draw_cohort(4000, 1, UNTIL, [Drift("C1", DriftKind.PREVALENCE), Drift("C2", DriftKind.LABEL)])
    sicker = [c.outcome for c in many if c.center == "C1" and c.is_current]
    assert np.mean(sicker) == pytest.approx(0.60, abs=0.01)
    flipped = [c.latents["heterogeneity"] for c in many if c.center == "C2" and c.is_current and c.outcome]
    assert np.mean(flipped) == pytest.approx(-SHIFTS["heterogeneity"], abs=0.25)


def homogeneous(density_per_mm2):
    shape = SCANNER.region_px
    flat = np.zeros(shape, dtype=np.float32)
    lesion = build_anatomy(draw_cohort(16, 1, UNTIL)[0], SCANNER, np.random.default_rng(0)).lesion
    return Anatomy(flat, np.full(shape, density_per_mm2, dtype=np.float32), flat, lesion)


def envelope_snr(density_per_mm2):
    generator = np.random.default_rng(5)
    echo = envelope(scatter(homogeneous(density_per_mm2), SCANNER.spacing_mm, generator), SCANNER)[20:-20, 20:-20]
    return float(echo.mean() / echo.std()), float((echo**2).mean())


def test_the_envelope_of_plain_tissue_is_rayleigh_and_of_few_scatterers_is_not():
    # Rayleigh: mean / standard deviation = sqrt(pi / (4 - pi)) = 1.913 (Wagner 1983)
    snr, power = envelope_snr(200.0)
    assert snr == pytest.approx(math.sqrt(math.pi / (4 - math.pi)), rel=0.05)
    assert power == pytest.approx(2.0, rel=0.08)
    few, power_of_few = envelope_snr(3.0)
    assert few < 1.6
    assert power_of_few == pytest.approx(2.0, rel=0.15)


def test_speckle_is_wider_away_from_the_focus():
    echo = envelope(scatter(homogeneous(100.0), SCANNER.spacing_mm, np.random.default_rng(2)), SCANNER) ** 2

    def correlation(rows, lag=6):
        block = echo[rows] - echo[rows].mean()
        return float((block[:, lag:] * block[:, :-lag]).mean() / block.var())

    focus = round(SCANNER.focus_mm / SCANNER.spacing_mm)
    assert correlation(slice(380, 428)) > correlation(slice(focus - 25, focus + 25)) + 0.1


def case_with(**changes):
    base = draw_cohort(16, 1, UNTIL)[0]
    latents = dict.fromkeys(SHIFTS, 0.0) | {k: v for k, v in changes.items() if k in SHIFTS}
    findings = {
        "sex": "female",
        "tumor_shape": "regular",
        "tumor_edge": "clear",
        "calcification": "0",
        "vascularity": "none",
        "us_cln_positive": "0",
    } | {k: v for k, v in changes.items() if k in CHANCES}
    return replace(base, latents=latents, findings=findings)


def picture(case, seed=0):
    generator = np.random.default_rng(seed)
    anatomy = build_anatomy(case, SCANNER, generator)
    pixels = compress(envelope(scatter(anatomy, SCANNER.spacing_mm, generator), SCANNER, generator), SCANNER)
    return pixels.astype(float), signed_distance_mm(anatomy.lesion, SCANNER)


def test_texture_latents_are_seen_in_the_pixels():
    def inside(**latents):
        values = [p[d > 0.5] for p, d in (picture(case_with(**latents), seed) for seed in range(4))]
        return np.mean([v.mean() for v in values]), np.mean([v.std() for v in values])

    assert inside(echogenicity=1.5)[0] > inside(echogenicity=-1.5)[0] + 15
    assert inside(heterogeneity=1.5)[1] > inside(heterogeneity=-1.5)[1] + 3
    assert inside(density=-1.5)[1] > inside(density=1.5)[1] + 4


def test_calcifications_throw_a_shadow_and_a_dark_lesion_does_not():
    def below(case):
        shades = []
        for seed in range(6):
            pixels, distance = picture(case, seed)
            rows, columns = np.nonzero(distance > 0)
            behind = pixels[rows.max() + 15 : rows.max() + 60]
            middle = behind[:, columns.min() + 15 : columns.max() - 15].mean()
            shades.append(middle - np.delete(behind, np.s_[columns.min() : columns.max()], axis=1).mean())
        return np.mean(shades)

    assert below(case_with(calcification="1")) < below(case_with()) - 4
    assert below(case_with()) > -2


def test_a_reader_draws_nearly_the_lesion_and_two_readers_not_quite_the_same():
    anatomy = build_anatomy(case_with(tumor_edge="unclear"), SCANNER, np.random.default_rng(0))
    lesion = signed_distance_mm(anatomy.lesion, SCANNER) > 0
    first, second = (reader_mask(anatomy.lesion, SCANNER, np.random.default_rng(s)) for s in (1, 2))

    def dice(a, b):
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    assert dice(first, lesion) > 0.9
    assert 0.9 < dice(first, second) < 1.0
