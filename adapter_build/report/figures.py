"""The report's charts as inline SVG: shapes and classes; colours, fonts and dark mode are the page's."""

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

Point = tuple[float, float]
Interval = tuple[float, float, float]  # mean, low, high

WIDTH = 560
LEFT, RIGHT, TOP, BOTTOM = 62, 28, 30, 48  # room for text that the page may enlarge by half on a narrow screen
MOST_POINTS = 400  # of a curve: more cannot be told apart on the page


def loss_curve(train: Sequence[Point], validation: Sequence[Point], label: str) -> Markup:
    """Draw training and validation loss over optimizer steps: (step, loss) each, all finite, at least one in total."""
    points = [*train, *validation]
    xs = ticks(0, max(step for step, _ in points), 6)
    ys = ticks(min(loss for _, loss in points), max(loss for _, loss in points), 5)
    height = 280
    x = _scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT)
    y = _scale(ys[0], ys[-1], height - BOTTOM, TOP)
    parts = [_line("grid", LEFT, y(tick), WIDTH - RIGHT, y(tick)) for tick in ys]
    parts += [_text(LEFT - 8, y(tick) + 4, number(tick, ys), "end") for tick in ys]
    parts += [_text(x(tick), height - BOTTOM + 20, number(tick, xs), "middle") for tick in xs]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, height - 5, "optimizer step", "middle", "axis"))
    parts.append(_text(0, 14, "loss", "start", "axis"))
    for name, curve in (("train", thinned(train)), ("validation", thinned(validation))):
        if curve:
            path = " ".join(f"{_at(x(step))},{_at(y(loss))}" for step, loss in curve)
            parts.append(f'<polyline class="{name}" points="{path}"/>')
    parts += [_dot("validation", x(step), y(loss)) for step, loss in thinned(validation, 60)]
    entries = [("train", "training", False)] if train else []
    entries += [("validation", "validation", True)] if validation else []
    for place, (name, text, dotted) in enumerate(entries):
        right = WIDTH - RIGHT - (len(entries) - 1 - place) * 150
        parts += [_line(name, right - 140, 10, right - 112, 10), _text(right - 104, 14, text, "start")]
        parts += [_dot(name, right - 126, 10)] if dotted else []
    return _svg(height, label, parts)


def interval_chart(rows: Sequence[tuple[str, Interval, Interval]], label: str) -> Markup:
    """Draw, per row (name, base, adapter), both means with their intervals on one axis that starts at zero."""
    xs = ticks(0, max(high for _, base, adapter in rows for _, _, high in (base, adapter)), 5)
    left, step = 134, 48
    height = TOP + step * len(rows) + BOTTOM
    x = _scale(0, xs[-1], left, WIDTH - RIGHT)
    parts = []
    for tick in xs:
        parts.append(_line("grid", x(tick), TOP, x(tick), height - BOTTOM))
        parts.append(_text(x(tick), height - BOTTOM + 20, number(tick, xs), "middle"))
    for place, (name, *intervals) in enumerate(rows):
        middle = TOP + step * place + step / 2
        parts.append(_text(left - 12, middle + 4, name, "end"))
        for series, (mean, low, high), at in zip(("base", "adapter"), intervals, (middle - 8, middle + 8), strict=True):
            parts += [_line(series, x(low), at, x(high), at), _mark(series, x(mean), at)]
    for series, right in (("base", WIDTH - RIGHT - 120), ("adapter", WIDTH - RIGHT)):
        parts += [_line(series, right - 110, 10, right - 82, 10), _mark(series, right - 96, 10)]
        parts.append(_text(right - 74, 14, series, "start"))
    parts.append(
        _text((left + WIDTH - RIGHT) / 2, height - 5, "F1 in percent, mean and 95 % interval", "middle", "axis")
    )
    return _svg(height, label, parts)


def share_bar(kept: int, dropped: int, total: int) -> Markup:
    """Draw kept and dropped as parts of `total`, hidden from screen readers, who find the numbers beside the bar."""
    scale = 100 / total if total else 0
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="whole" width="100" height="10"/><rect class="kept" width="{_at(kept * scale)}" height="10"/>'
        f'<rect class="dropped" x="{_at(kept * scale)}" width="{_at(dropped * scale)}" height="10"/></svg>'
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return two to `most` + 1 round, evenly spaced numbers that enclose low..high."""
    span = (high - low) or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / most))
    for unit in (1, 2, 2.5, 5, 10, 20):
        width = unit * magnitude
        first, last = math.floor(low / width), math.ceil(high / width)
        if last == first:
            last += 1
        if last - first <= most:
            break
    return [round(place * width, 12) for place in range(first, last + 1)]


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return the points, or, if they are more than `most`, the means of runs of equal length."""
    size = math.ceil(len(points) / most) or 1
    runs = (points[start : start + size] for start in range(0, len(points), size))
    return [(sum(a for a, _ in run) / len(run), sum(b for _, b in run) / len(run)) for run in runs]


def number(value: float, among: Iterable[float]) -> str:
    """Write an axis's number with the decimals that all of `among` need, and no more."""
    decimals = next((count for count in range(6) if all(abs(tick - round(tick, count)) < 1e-9 for tick in among)), 6)
    return f"{value:,.{decimals}f}"


def _scale(low: float, high: float, first: float, last: float):  # noqa: ANN202 - a function of one number
    return lambda value: first + (value - low) / (high - low) * (last - first)


def _at(value: float) -> str:
    return f"{value:.1f}"


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{name}" x1="{_at(x1)}" y1="{_at(y1)}" x2="{_at(x2)}" y2="{_at(y2)}"/>'


def _dot(name: str, x: float, y: float) -> str:
    return f'<circle class="{name}" cx="{_at(x)}" cy="{_at(y)}" r="3.5"/>'


def _mark(series: str, x: float, y: float) -> str:
    """Draw a circle for the base, a square for the adapter, which differ without colour."""
    if series == "base":
        return _dot(series, x, y)
    return f'<rect class="{series}" x="{_at(x - 4)}" y="{_at(y - 4)}" width="8" height="8"/>'


def _text(x: float, y: float, text: str, anchor: str, name: str = "tick") -> str:
    return f'<text class="{name}" x="{_at(x)}" y="{_at(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: int, label: str, parts: Iterable[str]) -> Markup:
    opening = f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
    return Markup(f"{opening}{''.join(parts)}</svg>")
