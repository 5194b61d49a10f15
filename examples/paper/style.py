"""How the figures and tables look: readable in grey, the paper's values marked alike."""

LINES = {
    "all": {"color": "black", "linestyle": "-", "marker": None, "linewidth": 1.6},
    "ring": {"color": "0.15", "linestyle": "--", "marker": "o"},
    "random": {"color": "0.4", "linestyle": "-.", "marker": "s"},
    "hypercube": {"color": "0.5", "linestyle": "-", "marker": "^", "markerfacecolor": "white"},
    "hypercube, edges once": {"color": "0.5", "linestyle": (0, (5, 1)), "marker": "D"},
    "eighth": {"color": "0.7", "linestyle": "-", "marker": None, "linewidth": 1.6},
    "alone": {"color": "0.7", "linestyle": "-", "marker": None, "linewidth": 1.6},
}
NAMES = {
    "all": "one network, all rows",
    "eighth": "an eighth each, never fused",
    "alone": "one digit each, never fused",
}
PAPER = {"color": "black", "marker": "x", "linestyle": "none", "markersize": 7, "label": "the paper"}


def save(figure, path):
    """Write a figure and say so."""
    figure.savefig(path, dpi=200)
    print(f"wrote {path.name}")


def band(axes, x, runs, name, label=None, **changes):
    """Draw the mean over runs, and a band from the lowest to the highest; ``runs`` has a row for each run."""
    style = LINES[name] | {"markersize": 3.5, "markevery": max(1, len(x) // 8), "label": label or NAMES.get(name, name)}
    axes.plot(x, runs.mean(axis=0), **style | changes)
    axes.fill_between(x, runs.min(axis=0), runs.max(axis=0), color=style["color"], alpha=0.2, linewidth=0)


def markdown(frame):
    """Return a data frame as a Markdown table."""
    frame = frame.astype(object).where(frame.notna(), "")
    lines = [frame.columns, ["---"] * len(frame.columns), *frame.to_numpy()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
