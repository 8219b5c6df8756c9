"""The figures as a picture: for each kind of work the peer's bar in grey and Holdfast's on it, both to the scale of their row."""

from html import escape

from verdict import PEER, US, amount, middle, share

PANELS = [
    ("Stored bytes added", "stored", ["first", "gen1", "gen2", "gen3", "flushes", "chain"]),
    ("CPU time", "cpu", ["first", "increments", "chain", "restore", "restore of a chain", "verify"]),
    ("Time on the clock", "wall", ["first", "increments", "restore", "restore of a chain", "restore onto", "verify"]),
    ("Peak memory", "rss", ["first", "increments", "restore", "big first", "big restore"]),
]
WIDTH, LEFT, BAR, ROW = 880, 330, 300, 26
OURS, THEIRS, INK, FAINT = "#0b6e69", "#c9ced3", "#1c2428", "#5b666d"
STYLE = (
    f'text{{font:13px system-ui,"DejaVu Sans",sans-serif;fill:{INK}}} .panel,.ratio{{font-weight:600}} '
    f".title{{font-size:16px;font-weight:600}} .faint{{fill:{FAINT};font-size:12px}}"
)


def svg(result):
    """A stand-alone SVG, readable on light and on dark ground."""
    by_key = {row["key"]: row for row in result["rows"]}
    parts, y = [], 66
    for title, metric, keys in PANELS:
        shown = [by_key[key] for key in keys if key in by_key]
        if not shown:
            continue
        parts.append(f'<text x="24" y="{y + 14}" class="panel">{title}</text>')
        y += 24
        for row in shown:
            parts += bar(row, metric, y)
            y += ROW
        y += 14
    made = result["seeds"][0]["made"]
    seeds = len(result["seeds"])
    of = "one seed" if seeds == 1 else f"the median of {seeds} seeds"
    what = f"A live ChromaDB {made['chromadb']} of {made['vectors']:,} vectors; {of}."
    foot = f"{what} Each row has its own scale."
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 34}" viewBox="0 0 {WIDTH} {y + 34}" role="img" '
        f'aria-label="{escape(foot)}">\n<style>{STYLE}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        '<text x="24" y="30" class="title">What it takes: Holdfast and restic on the same volume</text>'
    )
    peer = escape(" ".join(result["versions"][PEER].split()[:2]))
    legend = [
        f'<rect x="24" y="42" width="12" height="10" fill="{OURS}"/><text x="41" y="51" class="faint">Holdfast</text>',
        f'<rect x="108" y="42" width="12" height="10" fill="{THEIRS}"/><text x="125" y="51" class="faint">{peer}</text>',
    ]
    foot = f'<text x="24" y="{y + 16}" class="faint">{escape(foot)}</text>'
    return "\n".join([head, *legend, *parts, foot, "</svg>"]) + "\n"


def bar(row, metric, y):
    """One row: its name, both bars, both figures and their ratio."""
    us, peer = middle(row, US, metric), middle(row, PEER, metric)
    scale = BAR / max(us, peer, 1e-9)
    label = f"{amount(metric, us)} / {amount(metric, peer)}"
    return [
        f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(row["title"])}</text>',
        f'<rect x="{LEFT}" y="{y + 2}" width="{peer * scale:.1f}" height="16" fill="{THEIRS}"/>',
        f'<rect x="{LEFT}" y="{y + 6}" width="{max(us * scale, 1):.1f}" height="8" fill="{OURS}"/>',
        f'<text x="{LEFT + BAR + 12}" y="{y + 14}">{label}</text>',
        f'<text x="{WIDTH - 20}" y="{y + 14}" text-anchor="end" class="ratio">{share(us / peer) if peer else ""}</text>',
    ]
