"""Who comes: patients with a known truth, the effect sizes behind it, and the exact posterior of each outcome.

The model is naive Bayes, and holds by construction. Given the outcome (central lymph node metastasis, yes or no) all
variables are independent, so the posterior probability is a product of the densities of the tables below. No method
can rank cases better than it, on average over cohorts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from clnm.errors import UserError, nearest
from clnm.simulate.scanners import CENTERS, Center

PREVALENCE = 0.27
DRIFTED_PREVALENCE = 0.60
WINDOW_DAYS = 30
HISTORY_DAYS = 395
MIN_PATIENTS_PER_CENTER = 4
_MISSING_FRACTION = 0.02

# The effect sizes. Everything the outcome changes, and by how much.
SHIFTS: Mapping[str, float] = MappingProxyType(
    {
        # latent, standard normal in negatives; mean in positives, in standard deviations
        "density": -0.90,  # scatterers per mm2 of the lesion: fewer, so the speckle is no longer fully developed
        "heterogeneity": 1.05,  # contrast of the echo foci inside the lesion
        "echogenicity": -0.95,  # mean echo of the lesion against the gland: darker
        "age": -0.30,  # younger
        "size": 0.40,  # larger (of the log of the longest diameter)
    }
)
CHANCES: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]] = MappingProxyType(
    {
        # value: chance among negatives, chance among positives
        "sex": ({"female": 0.76, "male": 0.24}, {"female": 0.70, "male": 0.30}),
        "tumor_shape": ({"regular": 0.58, "irregular": 0.42}, {"regular": 0.40, "irregular": 0.60}),
        "tumor_edge": ({"clear": 0.58, "unclear": 0.42}, {"clear": 0.34, "unclear": 0.66}),
        "calcification": ({"0": 0.62, "1": 0.38}, {"0": 0.36, "1": 0.64}),
        "vascularity": (
            {"none": 0.40, "some": 0.40, "rich": 0.20},
            {"none": 0.25, "some": 0.40, "rich": 0.35},
        ),
        "us_cln_positive": ({"0": 0.88, "1": 0.12}, {"0": 0.40, "1": 0.60}),
    }
)
TEXTURE = ("density", "heterogeneity", "echogenicity")
"""Latents that no clinical table holds: only the pixels tell them."""
IN_PIXELS = (*TEXTURE, "size", "tumor_shape", "tumor_edge", "calcification")
IN_TABLES = ("age", "size", *CHANCES)


class DriftKind(StrEnum):
    """What happens to a center in the last 30 days."""

    GAIN = "gain"
    """The gain knob was turned up."""
    SCANNER = "scanner"
    """Another machine."""
    PREVALENCE = "prevalence"
    """Sicker patients come."""
    LABEL = "label"
    """Texture and outcome are related the other way round."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A planted change: which center, what kind."""

    center: str
    kind: DriftKind


@dataclass(frozen=True, slots=True)
class Case:
    """One patient with one examination, and the truth about them."""

    center: str
    index: int
    """0-based within the center; with the seed it names the case's random numbers."""
    outcome: bool
    posterior: float
    exam_at: datetime
    known_on: date
    is_current: bool
    """Examined in the last 30 days."""
    latents: Mapping[str, float]
    """The standardised latents of `SHIFTS`."""
    findings: Mapping[str, str]
    """The discrete variables of `CHANCES`."""
    missing: frozenset[str]
    """Table variables nobody filled in."""
    drifts: frozenset[DriftKind]

    @property
    def age_years(self) -> int:
        """Age at the examination."""
        return int(np.clip(round(46 + 13 * self.latents["age"]), 18, 88))

    @property
    def size_mm(self) -> float:
        """Longest diameter, log-normal around 13 mm."""
        return float(np.clip(13.0 * math.exp(0.30 * self.latents["size"]), 6.0, 24.0))


def parse_drift(text: str) -> Drift:
    """`"C3:gain"` as a `Drift`.

    Raises:
        UserError: no such center or kind; the sentence names the known ones.
    """
    center, separator, kind = text.partition(":")
    if not separator:
        raise UserError(f"drift {text!r} is not CENTER:KIND, for example C3:gain")
    names = [known.name for known in CENTERS]
    if center not in names:
        raise UserError(f"no center {center!r} to drift; known: {', '.join(names)}")
    if kind not in list(DriftKind):
        raise UserError(
            f"no drift {kind!r}; {nearest(kind, [str(k) for k in DriftKind])} (known: {', '.join(DriftKind)})"
        )
    return Drift(center, DriftKind(kind))


def draw_cohort(patients: int, seed: int, until: datetime, drift: Sequence[Drift] = ()) -> list[Case]:
    """All cases of all centers, in order of center and index. Drift changes only the cases it acts on."""
    cases = []
    for place, (center, count) in enumerate(zip(CENTERS, center_sizes(patients), strict=True)):
        kinds = frozenset(d.kind for d in drift if d.center == center.name)
        generator = np.random.default_rng(np.random.SeedSequence([seed, place]))
        current = _mark(count, round(count / 3), generator)
        outcome = _mark(count, round(PREVALENCE * count), generator)
        if DriftKind.PREVALENCE in kinds:
            rows = np.flatnonzero(current)
            outcome[rows] = _mark(rows.size, round(DRIFTED_PREVALENCE * rows.size), generator)
        cases += [
            _draw_case(
                center,
                index,
                bool(outcome[index]),
                kinds if current[index] else frozenset(),
                is_current=bool(current[index]),
                until=until,
                generator=case_generator(seed, place, index, 0),
            )
            for index in range(count)
        ]
    return cases


def center_sizes(patients: int) -> list[int]:
    """Patients per center in the proportions of 214, by largest remainder, at least four each.

    Raises:
        UserError: fewer than four per center.
    """
    floor = MIN_PATIENTS_PER_CENTER * len(CENTERS)
    if patients < floor:
        raise UserError(f"{patients} patients are too few for four centers; ask for at least {floor}")
    total = sum(center.share for center in CENTERS)
    wanted = [patients * center.share / total for center in CENTERS]
    sizes = [max(MIN_PATIENTS_PER_CENTER, math.floor(share)) for share in wanted]
    while sum(sizes) < patients:
        sizes[int(np.argmax([share - size for share, size in zip(wanted, sizes, strict=True)]))] += 1
    while sum(sizes) > patients:
        sizes[int(np.argmax(sizes))] -= 1
    return sizes


def case_generator(seed: int, place: int, index: int, stream: int) -> np.random.Generator:
    """The random numbers of one case: stream 0 draws the patient, 1 the picture, 2 the files."""
    return np.random.default_rng(np.random.SeedSequence([seed, place, index, stream]))


def log_likelihood_ratio(
    latents: Mapping[str, float],
    findings: Mapping[str, str],
    *,
    variables: Sequence[str] = (*SHIFTS, *CHANCES),
    is_flipped: bool = False,
) -> float:
    """Natural log of p(variables | positive) / p(variables | negative).

    A Gaussian latent z with mean 0 against mean s, both of variance 1, gives `s z - s^2 / 2`; a finding gives the log
    of its two chances. `is_flipped` turns the texture's shifts round, as drift `label` does.
    """
    total = 0.0
    for name in variables:
        if name in SHIFTS:
            shift = -SHIFTS[name] if is_flipped and name in TEXTURE else SHIFTS[name]
            total += shift * latents[name] - shift**2 / 2
        else:
            negative, positive = CHANCES[name]
            total += math.log(positive[findings[name]] / negative[findings[name]])
    return total


def area_under_curve(outcome: Sequence[bool], score: Sequence[float]) -> float:
    """The chance that a positive outranks a negative, ties counted half (Hanley and McNeil 1982). NaN for one class."""
    positives = np.array([s for s, y in zip(score, outcome, strict=True) if y])
    negatives = np.array([s for s, y in zip(score, outcome, strict=True) if not y])
    if not positives.size or not negatives.size:
        return math.nan
    difference = positives[:, None] - negatives[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def _draw_case(
    center: Center,
    index: int,
    outcome: bool,
    drifts: frozenset[DriftKind],
    *,
    is_current: bool,
    until: datetime,
    generator: np.random.Generator,
) -> Case:
    is_flipped = DriftKind.LABEL in drifts
    latents = {}
    for name, shift in SHIFTS.items():
        sign = -1.0 if is_flipped and name in TEXTURE else 1.0
        latents[name] = float(generator.standard_normal() + sign * shift * outcome)
    findings = {name: _pick(chances[outcome], generator.random()) for name, chances in CHANCES.items()}
    missing = frozenset(n for n in ("age", "tumor_size_mm", *CHANCES) if generator.random() < _MISSING_FRACTION)
    exam_at = _exam_time(until, is_current, generator)
    prevalence = DRIFTED_PREVALENCE if DriftKind.PREVALENCE in drifts else PREVALENCE
    logit = math.log(prevalence / (1 - prevalence)) + log_likelihood_ratio(latents, findings, is_flipped=is_flipped)
    return Case(
        center.name,
        index,
        outcome,
        1 / (1 + math.exp(-logit)),
        exam_at,
        exam_at.date() + timedelta(days=int(generator.integers(2, 11))),
        is_current,
        latents,
        findings,
        missing,
        drifts,
    )


def _exam_time(until: datetime, is_current: bool, generator: np.random.Generator) -> datetime:
    """A working hour of a weekday, within the current window or in the history before it."""
    first, last = (1, WINDOW_DAYS - 1) if is_current else (WINDOW_DAYS + 1, HISTORY_DAYS - 1)
    midnight = datetime.combine(until.date(), time(), tzinfo=until.tzinfo)
    days = [midnight - timedelta(days=back) for back in range(first, last + 1)]
    weekdays = [day for day in days if day.weekday() < 5]
    day = weekdays[int(generator.integers(len(weekdays)))]
    return day + timedelta(minutes=int(generator.integers(8 * 60, 17 * 60)))


def _mark(count: int, marked: int, generator: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(count, dtype=bool)
    chosen[generator.permutation(count)[:marked]] = True
    return chosen


def _pick(chances: Mapping[str, float], uniform: float) -> str:
    edges = np.cumsum(list(chances.values()))
    return list(chances)[min(int(np.searchsorted(edges, uniform, side="right")), len(edges) - 1)]
