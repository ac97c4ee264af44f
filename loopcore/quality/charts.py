# SPDX-License-Identifier: Apache-2.0
"""Draws measurements over the frames as inline SVG; colours and fonts are those of the page's classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from loopcore.quality.report import Curve

WIDTH, HEIGHT = 480, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 28, 40
_MOST_DOTS = 100  # with more points, only those that are judged get one


def chart(curve: Curve) -> str:
    """Returns a chart as an `<svg>` element.

    The limits are dashed, points beyond them are squares of another colour, and each dot has its frame and value as a
    tooltip. Values that are not finite are left out.
    """
    points = [(number, value) for number, value in curve.points if math.isfinite(value)]
    if not points:
        return '<p class="missing">Nothing was measured.</p>'
    limits = {limit: limit == curve.low for limit in (curve.low, curve.high) if limit is not None}
    axes = _Axes(points, list(limits))
    parts = [*axes.grid(curve.unit), *(axes.limit(*limit) for limit in limits.items()), axes.line(points)]
    dotted = [(n, v) for n, v in points if len(points) <= _MOST_DOTS or n in (curve.judged or ()) or curve.beyond(n, v)]
    parts += [axes.dot(number, value, curve) for number, value in dotted]
    label = escape(f"{curve.title} {curve.unit}, frames {points[0][0]} to {points[-1][0]}")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">' + "".join(parts) + "</svg>"
    )  # fmt: skip


class _Axes:
    """Maps frame numbers and values to the chart's units."""

    def __init__(self, points: Sequence[tuple[int, float]], limits: Sequence[float]) -> None:
        numbers, values = [n for n, _ in points], [*(v for _, v in points), *limits]
        self._first, self._last = min(numbers), max(max(numbers), min(numbers) + 1)
        low, high = min(values), max(values)
        margin = 0.16 * (high - low) or 0.1 * abs(high) or 0.1
        # Values of which 0 is the best are drawn from there.
        self._low = 0.0 if 0 <= low < 0.5 * high else low - margin
        self._high = high + margin

    def x(self, number: float) -> float:
        return _LEFT + (number - self._first) / (self._last - self._first) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (value - self._low) / (self._high - self._low) * (HEIGHT - _TOP - _BOTTOM)

    def grid(self, unit: str) -> list[str]:
        right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        parts = [f'<text class="unit" x="{_LEFT}" y="{_TOP - 14}">{escape(unit)}</text>']
        for tick in ticks(self._low, self._high, 5):
            y = f"{self.y(tick):.1f}"
            parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/>')
            parts.append(f'<text class="left" x="{_LEFT - 8}" y="{self.y(tick) + 4:.1f}">{tick:g}</text>')
        for tick in ticks(self._first, self._last, 6):
            if tick == int(tick):
                parts.append(f'<text class="below" x="{self.x(tick):.1f}" y="{bottom + 18}">{int(tick)}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
        parts.append(f'<text class="unit" x="{_LEFT}" y="{HEIGHT - 5}">frame</text>')
        return parts

    def limit(self, value: float, below: bool) -> str:
        y = self.y(value)
        line = f'<line class="limit" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        # A lower limit's text is below its line, where no passing point is.
        baseline = y + 14 if below else y - 6
        return line + f'<text class="limit" x="{WIDTH - _RIGHT}" y="{baseline:.1f}">limit {value:.3g}</text>'

    def line(self, points: Sequence[tuple[int, float]]) -> str:
        path = " ".join(f"{self.x(number):.1f},{self.y(value):.1f}" for number, value in points)
        return f'<polyline class="curve" points="{path}"/>'

    def dot(self, number: int, value: float, curve: Curve) -> str:
        title = f"<title>frame {number}: {value:.4g}</title>"
        x, y = self.x(number), self.y(value)
        if curve.beyond(number, value):
            return f'<rect class="beyond" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8">{title}</rect>'
        judged = curve.judged is not None and number in curve.judged
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if judged else 2.5}">{title}</circle>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """Returns at most `most` + 1 round numbers from `low` to `high`, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    start, stop = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(start, stop + 1)]
