"""Charts as SVG: pure. Values begin at zero; the places of a line chart are on a logarithmic axis."""

import math
from html import escape

from steady import median

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 50, 20, 36, 44
INK, LINE = "#333", "#1f6feb"


def line(title, axis, values):
    """A line through the median at each place, and a dot for each single value: `{place: [value]}`."""
    places = sorted(values)
    least, most = math.log(places[0]), math.log(places[-1])
    top = nice(max(max(each) for each in values.values()))
    across = lambda place: LEFT + (math.log(place) - least) / ((most - least) or 1) * (WIDTH - LEFT - RIGHT)
    down = lambda value: HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)
    parts = [text(WIDTH / 2, 20, title, 14), text(WIDTH / 2, HEIGHT - 8, axis, 12)]
    for step in range(5):
        value = top * step / 4
        parts.append(f'<path d="M{LEFT} {down(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(text(LEFT - 8, down(value) + 4, f"{value:g}", 11, "end"))
    for place in places:
        parts.append(text(across(place), HEIGHT - BOTTOM + 16, f"{place:,}", 11))
        parts += [f'<circle cx="{across(place):.1f}" cy="{down(one):.1f}" r="2.5" fill="{LINE}" opacity=".4"/>' for one in values[place]]
    points = " ".join(f"{across(place):.1f},{down(median(values[place])):.1f}" for place in places)
    parts.append(f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    return drawing(HEIGHT, parts)


def bars(title, values):
    """A bar as long as the median for each name, and a dot for each single value: `{name: [value]}`."""
    bar, height = 28, TOP + 44 * len(values) + 20
    top = 4 * nice(max(max(each) for each in values.values()) / 4, range(1, 11))
    left = 120
    across = lambda value: left + value / top * (WIDTH - left - RIGHT)
    parts = [text(WIDTH / 2, 20, title, 14)]
    for step in range(5):
        value = top * step / 4
        parts.append(f'<path d="M{across(value):.1f} {TOP}V{height - 20}" stroke="#ddd"/>')
        parts.append(text(across(value), height - 6, f"{value:g}", 11))
    for number, (name, each) in enumerate(values.items()):
        y, middle = TOP + 8 + 44 * number, median(each)
        parts.append(text(left - 8, y + bar / 2 + 4, f"{name}  {middle:.1f}", 12, "end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{across(middle) - left:.1f}" height="{bar}" fill="{LINE}" opacity=".75"/>')
        parts += [f'<circle cx="{across(one):.1f}" cy="{y + bar / 2}" r="2.5" fill="{INK}" opacity=".6"/>' for one in each]
    return drawing(height, parts)


def nice(value, steps=(1, 2, 4, 8, 10)):
    """The next of `steps`, times a power of ten, that is not below a value: of 1, 2, 4, 8, 10, 20, 40, …"""
    scale = 10 ** math.floor(math.log10(value))
    return next(step * scale for step in steps if step * scale >= value)


def drawing(height, parts):
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    body = "\n".join(['<rect width="100%" height="100%" fill="#fff"/>', *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">\n{body}\n</svg>\n'


def text(x, y, words, size, anchor="middle"):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{INK}" text-anchor="{anchor}">{escape(words)}</text>'
