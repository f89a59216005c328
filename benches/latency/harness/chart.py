"""The medians as a picture: a panel for each rate, and for each contestant and interval a line from p50 to p99."""

from figures import middle

PANEL, HEIGHT, LEFT, TOP = 330, 240, 44, 40
GAP = 24
COLOURS = ["#0b6e99", "#d9730d", "#6b7280", "#448361"]


def draw(rounds):
    keys = list(rounds[0])
    rates, intervals, names = (list(dict.fromkeys(key[part] for key in keys)) for part in range(3))
    colours = dict(zip(names, COLOURS))
    parts = [legend(names, colours)]
    for number, rate in enumerate(rates):
        values = {key: middle(rounds, key) for key in keys if key[0] == rate}
        parts.append(f'<g transform="translate({LEFT + number * PANEL} {TOP})">')
        parts += panel(rate, intervals, names, colours, values)
        parts.append("</g>")
    width, height = LEFT + len(rates) * PANEL, TOP + HEIGHT + 44
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>", ""])


def legend(names, colours):
    words = "   ".join(f'<tspan fill="{colours[name]}">■ {name}</tspan>' for name in names)
    return f'<text x="{LEFT}" y="16" xml:space="preserve">{words}   dot: p50, bar: p99, milliseconds</text>'


def panel(rate, intervals, names, colours, values):
    top = ceiling(max(one.p99 for one in values.values()))
    y = lambda ms: HEIGHT - ms / top * HEIGHT
    step = (PANEL - GAP - LEFT) / len(intervals)
    yield f'<text x="0" y="-8" font-weight="bold">{rate:,} events/s</text>'
    for part in range(5):
        ms = top * part / 4
        yield f'<line x1="0" x2="{PANEL - GAP - LEFT}" y1="{y(ms):.1f}" y2="{y(ms):.1f}" stroke="#e5e7eb"/>'
        yield f'<text x="-6" y="{y(ms) + 4:.1f}" text-anchor="end" fill="#6b7280">{ms:g}</text>'
    for place, interval in enumerate(intervals):
        middle_of = step * (place + 0.5)
        yield f'<text x="{middle_of:.1f}" y="{HEIGHT + 18}" text-anchor="middle">{interval} ms</text>'
        for nth, name in enumerate(names):
            one = values.get((rate, interval, name))
            if one:
                x = middle_of + (nth - (len(names) - 1) / 2) * 16
                yield from mark(x, y(one.p50), y(one.p99), colours[name])
    yield f'<text x="{(PANEL - GAP - LEFT) / 2}" y="{HEIGHT + 36}" text-anchor="middle" fill="#6b7280">commit interval</text>'


def mark(x, p50, p99, colour):
    yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{p50:.1f}" y2="{p99:.1f}" stroke="{colour}" stroke-width="2"/>'
    yield f'<line x1="{x - 5:.1f}" x2="{x + 5:.1f}" y1="{p99:.1f}" y2="{p99:.1f}" stroke="{colour}" stroke-width="2"/>'
    yield f'<circle cx="{x:.1f}" cy="{p50:.1f}" r="4" fill="{colour}"/>'


def ceiling(ms):
    """The next round number that four parts divide well."""
    step = 20
    while step < ms:
        step = step * 2 if step < 200 else step + 200
    return step
