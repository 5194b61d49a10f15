"""
The paper, in small
===================

The scripts that reproduce the paper's experiments (:doc:`/paper/index`) run here in their quick setting, on
scikit-learn's digits instead of the paper's data sets: a coarse grid, few epochs, no download.
"""

# %%
# Table I
# -------
# One network with all rows, networks with an eighth of them that never fuse, and eight with an eighth each that fuse
# along three topologies, by two rules.

# sphinx_gallery_thumbnail_number = 3
import contextlib
import sys
import tempfile

import matplotlib.pyplot as plt

sys.path.insert(0, "paper")  # the folder of the scripts, beside this one
import fig2
import fig5
import fig6
import table1


def show(script, *options):
    """Run a script without its messages, and show its figure."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        script.main(["--quick", "--data", "digits", "--n-jobs", "1", "--out", folder, *options])
    plt.gcf().set_size_inches(9, 3.6)
    plt.show()


show(table1, "--epochs", "60", "--seed", "0", "1")

# %%
# Fig. 2: one digit each
# ----------------------
# Ten networks are shown one digit each: they never fuse, or they fuse at intervals.

show(fig2, "--epochs", "20")

# %%
# Fig. 5: the rate
# ----------------
# The error against the fusion rate F.

show(fig5)

# %%
# Fig. 6: the frequency
# ---------------------
# The error against the number of epochs between fusion rounds.

show(fig6)
