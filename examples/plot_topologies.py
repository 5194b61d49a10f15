"""
Topologies, measured without training
=====================================

How many fusion rounds does it take until networks agree, and how much do they send?  You can know without training: the
topology, the number of networks, the fusion rate and the rule decide.  These tables and this figure compare all
topologies.
"""

# %%
# Topologies
# ----------
# Those that have a name, and the hypercube with each edge once.

import matplotlib.pyplot as plt

from skfusion.diagnostics import diagnose
from skfusion.topology import HypercubeTopology

names = ("line", "ring", "star", "torus", "complete", "random", "exponential", "average", "hypercube")
topologies = {name: name for name in names} | {"hypercube, each edge once": HypercubeTopology(each_edge_once=True)}

# %%
# Tables
# ------
# Rounds until at most 1 % of the disagreement is left, for two rules; networks sent in a round, by a peer on average
# and by the busiest one.

settings = {"sequential": 0.55, "simultaneous": 0.5}
groups = {f"{rule}, F = {rate}": ("rounds", "contraction", "gap") for rule, rate in settings.items()}
groups["networks sent"] = ("mean", "most")
columns = ["topology", *(column for group in groups.values() for column in group)]
widths = [25] + [11] * len(columns[1:])


def row(cells, widths=widths):
    """Return a row of a table in reStructuredText."""
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def table(n_networks):
    """Return the table for a number of networks."""
    of_groups = [widths[0]] + [12 * len(group) - 1 for group in groups.values()]
    edge = row("=" * width for width in widths)
    head = [row(["..", *groups], of_groups), row(["-" * width for width in of_groups], of_groups), row(columns)]
    return "\n".join([edge, *head, edge, *(row([name, *numbers(name, n_networks)]) for name in topologies), edge])


def numbers(name, n_networks):
    """Return the numbers of a topology's row."""
    results = [diagnose(topologies[name], n_networks, rate, rule, random_state=0) for rule, rate in settings.items()]
    of_rules = [[it.rounds, f"{it.contraction:.4f}", f"{it.spectral_gap:.4f}"] for it in results]
    return [*of_rules[0], *of_rules[1], f"{results[0].sent_mean:.3g}", f"{results[0].sent_max:.3g}"]


for n_networks in (8, 10, 16, 64):
    print(f"{n_networks} networks\n\n{table(n_networks)}\n")

# %%
# Figure
# ------
# The same against the number of networks, simultaneously with F = 0.5.  Lines join the powers of two, where the
# exponential topology and the hypercube reach the exact mean; hollow marks are the numbers halfway between.

powers, between = [4, 8, 16, 32, 64], [6, 12, 24, 48]
figure, panels = plt.subplots(1, 2, figsize=(10, 5.2), sharex=True, layout="constrained")
for (name, topology), marker, color in zip(topologies.items(), "osPDXv^h*d", plt.color_sequences["tab10"], strict=True):
    for sizes, joined in ((powers, True), (between, False)):
        results = [diagnose(topology, n_networks, 0.5, "simultaneous", random_state=0) for n_networks in sizes]
        style = {"marker": marker, "markersize": 10 if marker in "*^" else 6, "color": color}
        style |= {"label": name} if joined else {"linestyle": "none", "fillstyle": "none"}
        panels[0].plot(sizes, [it.rounds for it in results], **style)
        panels[1].plot(sizes, [it.rounds * it.sent_max for it in results], **style)
panels[0].set_title("rounds until 1 % of the disagreement is left")
panels[1].set_title("networks sent until then by the busiest peer")
for axes in panels:
    axes.set(xscale="log", yscale="log", xlabel="number of networks")
    axes.set_xticks(powers, labels=map(str, powers))
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
figure.savefig("topologies.png", dpi=150)
print("saved topologies.png")
plt.show()
