"""A make-believe four-center archive with known truth: pictures by physics, patients by a written-down model."""

from clnm.simulate.archive import Simulation, simulate_archive
from clnm.simulate.cohort import Drift, DriftKind, parse_drift
from clnm.simulate.faults import Fault

__all__ = ["Drift", "DriftKind", "Fault", "Simulation", "parse_drift", "simulate_archive"]
