"""From samples to figures: what each program needed for each kind of work, their ratio, the bound and whether it is met.

A figure of one seed is the median of its runs (peak memory: the maximum); work of several calls is their sum. What is held against
a bound is the worst seed.
"""

from dataclasses import dataclass, field
from statistics import median

US, PEER = "holdfast", "restic"
METRICS = {"stored": "stored bytes", "cpu": "CPU", "wall": "wall", "rss": "peak memory"}


@dataclass
class Work:
    """One kind of work: the calls it is made of, and the bounds that it must keep."""

    key: str
    title: str
    calls: list = field(default_factory=list)
    # Metric: (bound, aim or None), a share of the peer's figure.
    shares: dict = field(default_factory=dict)
    # Metric: the most that Holdfast may need, whatever the peer needs.
    limits: dict = field(default_factory=dict)


MEMORY = {"rss": 80e6}
RESTORE = {"cpu": (0.85, None), "wall": (1.0, None)}
INCREMENTS = {"stored": (1 / 30, 1 / 60), "cpu": (0.2, 0.12), "wall": (0.3, None)}
WORKS = [
    Work("open", "Open the repository: key derivation and listing"),
    Work("first", "First capture", [], {"stored": (0.96, 0.88), "cpu": (0.5, None)}, MEMORY),
    # The commit record is as long as what is said about a point; the bound is for what comes on top of it.
    Work("unchanged", "Capture of an unchanged volume", [], {}, {"stored": 2048}),
    Work("gen4", "The server restarted (two pages)", [], {}, {"stored": 20e3}),
    Work("two pages", "Two pages overwritten by noise", [], {}, {"stored": 20e3}),
    Work("gen1", "1 % added"),
    Work("gen2", "1 % updated"),
    Work("gen3", "1 % deleted, vectors flushed"),
    Work("increments", "The three 1 % increments together", ["gen1", "gen2", "gen3"], INCREMENTS, MEMORY),
    Work("flushes", "N/60 added, updated, deleted, flushed", ["genB1", "genB2", "genB3"]),
    Work("chain", "The chain of small increments", ["c*"]),
    Work("restore", "Restore of a full capture", [], RESTORE, MEMORY),
    Work("restore of a chain", "Restore from the end of the chain", [], RESTORE, MEMORY),
    Work("restore onto", "Restore of 1 % onto the older state", [], {"wall": (0.2, None)}, MEMORY),
    Work("verify", "Full verify of one full capture", [], {"cpu": (0.35, None)}),
    Work("verify a chain", "Full verify of everything", [], {"cpu": (0.35, None)}),
    Work("big first", "Large sparse volume: first capture", [], {}, MEMORY),
    Work("big increment", "Large sparse volume: 1 % changed", [], {}, MEMORY),
    Work("big restore", "Large sparse volume: restore", [], {}, MEMORY),
    Work("big verify", "Large sparse volume: full verify", [], {}, MEMORY),
]


def figures(samples, who, calls):
    """What the calls cost in one seed, or nothing if none of them was made. `record` is the size of commit records."""
    total = {}
    for call in calls:
        made = [s for s in samples if s["who"] == who and (s["what"] == call or call == "c*" and is_chain(s["what"]))]
        for what in sorted({s["what"] for s in made}):
            same = [s for s in made if s["what"] == what]
            for metric in ["stored", "cpu", "wall", "record"]:
                if metric in same[0]:
                    total[metric] = total.get(metric, 0) + median(s[metric] for s in same)
            total["rss"] = max([total.get("rss", 0)] + [s["rss"] for s in same])
            total["calls"] = total.get("calls", 0) + 1
    return total


def is_chain(what):
    """Whether a call is one of the chain's captures."""
    return what[0] == "c" and what[1:].isdigit()


def rows(seeds):
    """A row for each kind of work that was done: figures by seed, and the bounds with the worst of them."""
    found = []
    for work in WORKS:
        by_seed = []
        for seed in seeds:
            one = {who: figures(seed["samples"], who, work.calls or [work.key]) for who in [US, PEER]}
            opened = {who: figures(seed["samples"], who, ["open"]) for who in [US, PEER]}
            if one[US] and one[PEER]:
                one["seed"] = seed["seed"]
                one["ratio"] = {m: one[US][m] / one[PEER][m] for m in METRICS if one[PEER][m] > 0}
                if all(opened.values()):
                    one["ratioWithoutOpening"] = {m: without(one, opened, m) for m in ["cpu", "wall"]}
                by_seed.append(one)
        if by_seed:
            found.append({"key": work.key, "title": work.title, "seeds": by_seed, "bounds": bounds(work, by_seed)})
    return found


def without(one, opened, metric):
    """The ratio when each call is relieved of what opening a repository costs."""
    left = {who: max(one[who][metric] - one[who]["calls"] * opened[who][metric], 0.01) for who in [US, PEER]}
    return left[US] / left[PEER]


def bounds(work, by_seed):
    """Each bound of this work, held against the worst seed."""
    found = []
    for metric, (bound, aim) in work.shares.items():
        worst = max(by_seed, key=lambda one: one["ratio"][metric])
        found.append(held(metric, True, worst["ratio"][metric], bound, worst) | {"aim": aim})
    for metric, limit in work.limits.items():
        # Only the unchanged capture is allowed its commit record on top.
        allowed = {one["seed"]: limit + (one[US]["record"] if work.key == "unchanged" else 0) for one in by_seed}
        worst = max(by_seed, key=lambda one: one[US][metric] / allowed[one["seed"]])
        found.append(held(metric, False, worst[US][metric], allowed[worst["seed"]], worst))
    return found


def held(metric, is_share, value, bound, one):
    """A figure against its bound."""
    return {"metric": metric, "share": is_share, "worst": value, "bound": bound, "met": value <= bound, "seed": one["seed"]}


def amount(metric, value):
    """A figure as people read it."""
    if metric in ["cpu", "wall"]:
        return f"{value:.2f} s"
    if value < 1e6:
        return f"{value / 1e3:.1f} kB"
    return f"{value / 1e6:.1f} MB"


def share(value):
    """A ratio as people read it: small ones as a fraction."""
    return f"1/{1 / value:.0f}" if 0 < value <= 0.1 else f"{value:.2f}"


def table(result):
    """Everything as Markdown: the bounds first, then every figure as the median of the seeds."""
    made = result["seeds"][0]["made"]
    seeds = ", ".join(str(s["seed"]) for s in result["seeds"])
    machine = result["machine"]
    lines = [
        f"{result['versions'][US]} {result['revision']} against {result['versions'][PEER]}, {result['when']}.",
        f"ChromaDB {made['chromadb']}, {made['vectors']:,} vectors. Seeds {seeds}; runs of each: {result['runs']}; chain: {result['chain']}.",
        f"{machine['cores']} cores of {machine['cpu']}, load {machine['load'][0]:.1f} at the start.",
        "",
        "| work | metric | worst seed | bound | aim | met |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        for b in row["bounds"]:
            shown = [share(v) if b["share"] else amount(b["metric"], v) for v in figures_of(b)]
            cells = [row["title"], METRICS[b["metric"]], *shown, *[""] * (3 - len(shown)), "yes" if b["met"] else "**no**"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Each cell: {US} / {PEER} = ratio, the median of the seeds; in brackets the ratio without the cost of opening.", ""]
    lines += ["| work | " + " | ".join(METRICS.values()) + " |", "|---" * (len(METRICS) + 1) + "|"]
    for row in result["rows"]:
        lines.append("| " + " | ".join([row["title"], *(cell(row, metric) for metric in METRICS)]) + " |")
    return "\n".join(lines) + "\n"


def figures_of(b):
    """What is shown of a bound: the worst, the bound, and the aim where there is one."""
    return [b[key] for key in ["worst", "bound", "aim"] if b.get(key) is not None]


def cell(row, metric):
    """Both figures of one kind of work, and their ratios."""
    us, peer = (middle(row, who, metric) for who in [US, PEER])
    if not us and not peer:
        return ""
    text = f"{amount(metric, us)} / {amount(metric, peer)}"
    if ratios := [one["ratio"][metric] for one in row["seeds"] if metric in one["ratio"]]:
        text += f" = {share(median(ratios))}"
    net = [one["ratioWithoutOpening"][metric] for one in row["seeds"] if metric in one.get("ratioWithoutOpening", {})]
    if net and row["key"] != "open":
        text += f" ({share(median(net))})"
    return text


def middle(row, who, metric):
    """The median of the seeds."""
    return median(one[who][metric] for one in row["seeds"])
