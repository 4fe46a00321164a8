"""The page's pictures: SVG text to stand inside HTML, the same bytes for the same numbers.

Colours are of Okabe & Ito's palette, which people who see colours differently can tell apart; insufficient is grey.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from clnm.report.words import is_number, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, VERMILLION, GREY, INK = "#0072b2", "#e69f00", "#d55e00", "#8c8c8c", "#222222"
COLOUR_OF = {"stable": BLUE, "drift": VERMILLION, "insufficient": GREY}
N_BOOTSTRAP = 500
_PANELS_ACROSS = 5
_STYLE = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
}


def draw_forest(rows: Sequence[Mapping[str, Any]], *, best_auc: float | None = None) -> str:
    """External AUC of each algorithm with its interval; `rows`: algorithm, value, ci_low, ci_high, auc_cv, is_champion.

    The open circle is the cross-validated AUC, the dashed line the best anyone could reach, where that is known.
    """
    with _figure("forest", (7.2, 0.6 + 0.3 * len(rows))) as (figure, svg):
        axes = figure.subplots()
        for y, row in enumerate(rows):
            colour = VERMILLION if row["is_champion"] else BLUE
            if is_number(row["value"]):
                axes.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, linewidth=2)
                axes.plot(row["value"], y, "o", color=colour, markersize=6)
            else:
                axes.text(0.5, y, "insufficient", color=GREY, va="center")
            if is_number(row["auc_cv"]):
                axes.plot(row["auc_cv"], y, "o", markerfacecolor="none", markeredgecolor=INK, markersize=6)
        if best_auc is not None:
            axes.axvline(best_auc, color=INK, linestyle="--", linewidth=1)
        names = [spoken(row["algorithm"]) + (" (champion)" if row["is_champion"] else "") for row in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.set_xlim(min([0.45, *(row["ci_low"] - 0.02 for row in rows if is_number(row["ci_low"]))]), 1.01)
        axes.set_xlabel("AUC: external centers (filled, 95 % interval) and cross-validated (open)")
    return svg()


def draw_roc(outcome: np.ndarray, probability: np.ndarray, *, threshold: float | None, label: str) -> str:
    """ROC curve of (n,) outcomes and probabilities, a pointwise 95 % band by stratified bootstrap, and the cut-off."""
    with _figure("roc", (3.6, 3.6)) as (figure, svg):
        axes = figure.subplots()
        events, others = probability[outcome], probability[~outcome]
        generator = np.random.default_rng(0)
        drawn = [
            _sensitivity(generator.choice(events, len(events)), generator.choice(others, len(others)))
            for _ in range(N_BOOTSTRAP)
        ]
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        axes.fill_between(_GRID, low, high, color=BLUE, alpha=0.18, linewidth=0, step="post")
        cuts = np.concatenate([[np.inf], np.unique(probability)[::-1]])
        axes.plot([(others >= cut).mean() for cut in cuts], [(events >= cut).mean() for cut in cuts], color=BLUE)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        if threshold is not None:
            axes.plot((others >= threshold).mean(), (events >= threshold).mean(), "o", color=VERMILLION)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_title(f"AUC {label}\n{len(outcome)} cases, {int(outcome.sum())} events", fontsize=9, loc="left")
        axes.set_aspect("equal")
    return svg()


def draw_calibration(outcome: np.ndarray, probability: np.ndarray) -> str:
    """Observed fraction with Wilson's 95 % interval against predicted risk, in equal bins; below, the risks."""
    with _figure("calibration", (3.6, 3.6)) as (figure, svg):
        axes, rug = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
        order = np.argsort(probability, kind="stable")
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        for chosen in np.array_split(order, int(np.clip(len(order) // 12, 3, 10))):
            observed, (low, high) = outcome[chosen].mean(), wilson(int(outcome[chosen].sum()), len(chosen))
            centre = probability[chosen].mean()
            axes.plot([centre, centre], [low, high], color=BLUE, linewidth=1.2)
            axes.plot(centre, observed, "o", color=BLUE, markersize=5)
        rug.hist(
            [probability[~outcome], probability[outcome]],
            bins=np.linspace(0, 1, 21).tolist(),
            stacked=True,
            color=[GREY, VERMILLION],
        )
        axes.set(ylabel="observed fraction", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_title(f"{len(outcome)} cases; bars: 95 % interval", fontsize=9, loc="left")
        rug.set(xlabel="predicted risk", ylabel="cases")
    return svg()


def draw_p_values(by_center: Mapping[str, tuple[str, np.ndarray]]) -> str:
    """Per center (verdict, p-values of its tested features): where nothing moved they lie flat, drift piles up at 0."""
    across = min(_PANELS_ACROSS, max(2, len(by_center)))
    down = -(-len(by_center) // across)
    with _figure("p-values", (1.8 * across, 1.7 * down)) as (figure, svg):
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (center, (verdict, p_values)) in zip(panels, by_center.items(), strict=False):
            _draw_histogram(axes, p_values, COLOUR_OF[verdict])
            axes.set_title(f"{center}: {verdict}", fontsize=9, loc="left", color=COLOUR_OF[verdict])
        for axes in panels[len(by_center) :]:
            axes.remove()
        panels[0].set_ylabel("features")
    return svg()


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a fraction (Wilson 1927)."""
    z = 1.959963984540054
    fraction = successes / trials
    centre = (fraction + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(fraction * (1 - fraction) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


_GRID = np.linspace(0, 1, 101)


def _sensitivity(events: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Sensitivity at each false positive fraction of `_GRID`."""
    cuts = np.quantile(others, 1 - _GRID, method="inverted_cdf")
    reached = (events[:, None] > cuts).mean(axis=0)
    reached[-1] = 1.0
    return np.asarray(reached)


def _draw_histogram(axes: Axes, p_values: np.ndarray, colour: str) -> None:
    axes.set(xlim=(0, 1), xticks=[0, 0.5, 1], xlabel="p")
    if len(p_values) == 0:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "too few cases", transform=axes.transAxes, color=GREY, ha="center")
        return
    axes.hist(p_values, bins=np.linspace(0, 1, 21).tolist(), color=colour)
    axes.axhline(len(p_values) / 20, color=GREY, linewidth=1, linestyle=":")


@contextmanager
def _figure(name: str, inches: tuple[float, float]) -> Iterator[tuple[Figure, Any]]:
    """A figure to draw on, and the function that gives its SVG once it is drawn."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    text: list[str] = []
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=inches, layout="constrained")
        yield figure, lambda: text[0]
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
        text.append(_inline(drawn.getvalue(), name))


_METADATA = ("Creator", "Date", "Format", "Type")


def _inline(svg: str, name: str) -> str:
    """From a file of its own to a part of a page: no prologue, no addresses, ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", svg)
