"""How the figures and tables look.

Colours differ in hue for most eyes, and in lightness for a grey print and for colour-blind readers; what differs in
colour also differs in the dashes of its line or in its marker.  Figures are 8 inches wide, so that their text can be
read in the width of a page.
"""

import matplotlib.pyplot as plt

WIDTH = 8  # inches
LINES = {
    "all": {"color": "black", "linestyle": "-", "marker": None, "linewidth": 1.6},
    "ring": {"color": "#0A3D91", "linestyle": "--", "marker": "o"},
    "random": {"color": "#C8500A", "linestyle": "-.", "marker": "s"},
    "hypercube": {"color": "#3DA5D9", "linestyle": "-", "marker": "^"},
    "hypercube, edges once": {"color": "#E0A526", "linestyle": (0, (5, 1)), "marker": "D"},
    "eighth": {"color": "#8C8C8C", "linestyle": (0, (1, 0.8)), "marker": None, "linewidth": 1.8},
    "alone": {"color": "#8C8C8C", "linestyle": (0, (1, 0.8)), "marker": None, "linewidth": 1.8},
}
MARKS = {
    "vowel": {"color": "#0A3D91", "marker": "v"},
    "segment": {"color": "#C8500A", "marker": "D"},
    "splice": {"color": "#3DA5D9", "marker": "^"},
    "breast-w": {"color": "#E0A526", "marker": "o"},
    "mnist_784": {"color": "#6E6E6E", "marker": "s"},
}
WHOSE = {
    "peers": {"color": "#0A3D91", "marker": "o", "label": "peers' mean"},
    "consensus": {"color": "#C8500A", "marker": "s", "markerfacecolor": "white", "label": "consensus"},
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
    plt.close(figure)
    print(f"wrote {path.name}")


def of_rule(style, rule):
    """Fill markers with the sequential rule, leave them empty with the simultaneous one."""
    return style | {"markerfacecolor": "white" if rule == "simultaneous" else style["color"]}


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
