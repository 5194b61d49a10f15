"""CIFAR-10 of Table I, trained for longer: are fused networks within a point of the one with all rows?

Judged on what cifar_train.py has written so far, each run against the network with all rows of the same seed: after as
many epochs, after as many steps of each network, and both at the epoch at which they err least on held-out rows.
--epochs 30 judges them after their thirtieth; the last three tables and the figure show what they have done since, too.
"""

import matplotlib.pyplot as plt
import pandas as pd
from cells import output, parse_options
from cifar_train import SETTINGS
from protocol import EXPERIMENTS
from style import LINES, NAMES, WIDTH, markdown, of_rule, save

WHO = ("peers", "consensus")
WAYS = ("equal epochs", "equal steps", "best epochs")
STAGES = (60, 120, 180)  # epochs
RECENT = 10  # measurements, since a network's error goes up and down by some points from one to the next


def chosen(rows, seeds=None, epochs=None):
    """Return the rows of these seeds and of the first epochs; without either, all rows."""
    rows = rows[rows["seed"].isin(seeds)] if seeds else rows
    return rows[rows["epoch"] <= epochs] if epochs else rows


def runs_of(rows):
    """Return a data frame for each run, (setting, rule, seed): for each epoch steps, disagreement and errors.

    The errors are those of the peers' mean and of the consensus, on held-out and on test rows.
    """
    rows = rows.assign(who=rows["network"].where(rows["network"] == "consensus", "peers"))
    keys = ["setting", "rule", "seed", "epoch"]
    wide = rows.pivot_table(index=keys, columns="who", values=["held_out_error", "test_error"])
    wide.columns = [f"{who} {error}" for error, who in wide.columns]
    epochs = rows.groupby(keys)[["steps", "disagreement"]].first().join(wide).reset_index("epoch")
    runs = {key: run.set_index("epoch") for key, run in epochs.groupby(level=keys[:3])}
    order = [(*setting, seed) for seed in sorted(set(rows["seed"])) for setting in SETTINGS]
    return {key: runs[key] for key in order if key in runs}


def judge(runs):
    """Return how far each run's peers and its consensus are above the network with all rows, in points."""
    rows = []
    for (setting, rule, seed), run in runs.items():
        everything = runs.get(("all", "-", seed))
        if setting != "all" and everything is not None:
            row = {"setting": setting, "rule": rule, "seed": seed}
            rows += [row | {"who": who} | _above(everything, run, who) for who in WHO]
    return pd.DataFrame(rows, columns=None if rows else ["setting", "rule", "seed", "who", *WAYS])


def _above(everything, run, who):
    """Return how far a run is above the network with all rows, in points, and which epochs of both that compares."""
    last = min(everything.index.max(), run.index.max())
    same = everything.index[everything["steps"] <= run["steps"].max()].max()
    pairs = {
        "equal epochs": (last, last),
        "equal steps": (same, (run["steps"] - everything["steps"].get(same, 0)).abs().idxmin()),
        "best epochs": (_best(everything, "peers")[0], _best(run, who)[0]),
    }
    row = {}
    for way, (of_all, of_run) in pairs.items():
        base = everything["peers test_error"].get(of_all, float("nan"))  # before its first epoch there is no error
        row[way] = 100 * (run.loc[of_run, f"{who} test_error"] - base)
        row |= {f"{way}, all rows": of_all, f"{way}, run": of_run}
    return row


def standing(runs):
    """Return each run's errors in per cent, after its last epoch and after that with the least held-out error."""
    rows = []
    for (setting, rule, seed), run in runs.items():
        row = {"setting": _title(setting, rule), "seed": seed, "epochs": run.index.max()}
        for who in WHO:
            best, error = _best(run, who)
            row[f"{who}, last"] = _percent(run[f"{who} test_error"].iloc[-1])
            row[f"{who}, best epoch"] = f"{error} ({best})"
        rows.append(row)
    return pd.DataFrame(rows)


def in_points(judged, who):
    """Return the table of points above all rows as it is printed, mean and standard deviation over seeds."""
    rows = []
    for (setting, rule), runs in judged[judged["who"] == who].groupby(["setting", "rule"], sort=False):
        row = {"setting": _title(setting, rule), "seeds": len(runs), "epochs": runs["equal epochs, run"].min()}
        for way in WAYS:
            spread = f" ± {runs[way].std():.2f}" if len(runs) > 1 else ""
            row[way] = f"{runs[way].mean():+.2f}{spread}" if runs[way].notna().all() else ""
        rows.append(row)
    return pd.DataFrame(rows)


def gone_on(runs, epochs):
    """Return the test errors in per cent that runs of more than so many epochs came to.

    Each error is the one after the epoch with the least held-out error, of all epochs or of those up to a stage.
    """
    rows = []
    for (setting, rule, seed), run in _longer(runs, epochs).items():
        last = run.index.max()
        row = {"setting": _title(setting, rule), "seed": seed}
        for stage in STAGES:
            row[f"peers, best of {stage}"] = _best(run.loc[:stage], "peers")[1] if stage <= last else ""
        for who in WHO:
            best, error = _best(run, who)
            row[f"{who}, best epoch"] = f"{error} ({best} of {last})"
        rows.append(row)
    return pd.DataFrame(rows)


def gone_on_in_points(runs, epochs):
    """Return how far runs of more than so many epochs are above the network with all rows, as it is printed.

    At equal epochs that is the mean over those that were measured last in both, and at the best epochs as in `judge`.
    """
    at_best = judge(runs).set_index(["setting", "rule", "seed", "who"])["best epochs"].to_dict()
    rows = []
    for (setting, rule, seed), run in _longer(runs, epochs).items():
        if (setting, rule, seed, "peers") not in at_best:
            continue
        everything = runs["all", "-", seed]["peers test_error"]
        last = run.index.intersection(everything.index)[-RECENT:]
        row = {"setting": _title(setting, rule), "seed": seed, "epochs": _span(last)}
        for who in WHO:
            above = 100 * (run[f"{who} test_error"] - everything).loc[last].mean()
            row[f"{who}, equal epochs"] = f"{above:+.2f}"
            row[f"{who}, best epochs"] = f"{at_best[setting, rule, seed, who]:+.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def recent_change(runs, epochs):
    """Return by how many points the held-out errors of runs of more than so many epochs have changed of late.

    That is their mean over those that were measured last, against the mean over as many before.
    """
    rows = []
    for (setting, rule, seed), run in _longer(runs, epochs).items():
        if len(run) < 2 * RECENT:
            continue
        before, last = run.iloc[-2 * RECENT : -RECENT], run.iloc[-RECENT:]
        row = {"setting": _title(setting, rule), "seed": seed, "from": _span(before.index), "to": _span(last.index)}
        change = 100 * (last.mean() - before.mean())
        rows.append(row | {who: f"{change[f'{who} held_out_error']:+.2f}" for who in WHO})
    return pd.DataFrame(rows)


def _longer(runs, epochs):
    return {key: run for key, run in runs.items() if run.index.max() > epochs}


def _best(run, who):
    """Return the epoch with the least held-out error, and the test error after it in per cent."""
    epoch = run[f"{who} held_out_error"].idxmin()
    return epoch, _percent(run.loc[epoch, f"{who} test_error"])


def _span(epochs):
    return f"{epochs[0]} to {epochs[-1]}"


def _title(setting, rule):
    return setting if rule == "-" else f"{setting}, {rule}"


def _percent(error):
    return f"{100 * error:.2f}"


def draw(runs, title):
    """Draw errors of peers and consensus over epochs, of peers over steps, and disagreement; a line for each run."""
    figure, panels = plt.subplots(2, 2, figsize=(WIDTH, 7), layout="constrained")
    what = [
        ("epoch", "peers test_error", "peers' mean"),
        ("epoch", "consensus test_error", "consensus"),
        ("steps", "peers test_error", "peers' mean, against the steps of each"),
        ("epoch", "disagreement", "disagreement after fusion"),
    ]
    for panel, (x, y, name) in zip(panels.flat, what, strict=True):
        for (setting, rule, _), run in runs.items():
            if (setting, y) != ("all", "disagreement"):
                look = of_rule(LINES[setting], rule) | {"markersize": 4, "markevery": max(1, len(run) // 8)}
                error = run[y] if y == "disagreement" else 100 * run[y]
                panel.plot(run.reset_index()[x], error, **look, label=NAMES.get(setting, _title(setting, rule)))
        panel.set(title=name, xlabel=x, ylabel=y if y == "disagreement" else "test error (%)")
        panel.set(xscale="log" if x == "steps" else "linear", yscale="log" if y == "disagreement" else "linear")
        panel.grid(alpha=0.3)
    panels[0, 0].sharey(panels[0, 1])
    figure.suptitle(title)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    of_label = dict(zip(labels, handles, strict=True))  # one for all seeds
    figure.legend(of_label.values(), of_label, loc="outside lower center", ncols=3, frameon=False)
    return figure


def main(argv=None):
    options = parse_options(__doc__, argv)
    rows = chosen(pd.read_csv(output(options, "cifar.csv")), options.seed)
    runs, so_far = runs_of(chosen(rows, epochs=options.epochs)), runs_of(rows)
    tables = {"standing": standing(runs), "judged": judge(runs)}
    for name, frame in tables.items():
        frame.round(3).to_csv(output(options, f"cifar_{name}.csv"), index=False)
    print(markdown(tables["standing"]))
    for who in WHO:
        print(f"\n{who}, points above all rows:\n\n{markdown(in_points(tables['judged'], who))}")
    if options.epochs:
        for table in (gone_on, gone_on_in_points, recent_change):
            print(f"\nruns that went on:\n\n{markdown(table(so_far, options.epochs))}")
    save(draw(so_far, EXPERIMENTS[rows["data"].iloc[0]].title), output(options, "cifar.png"))


if __name__ == "__main__":
    main()
