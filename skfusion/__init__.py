"""Neural networks trained apart that learn from one another by averaging their weights."""

from importlib.metadata import version
from importlib.util import find_spec

if find_spec("skfusion._kernels") is None:
    raise ImportError(
        f"the compiled core of skfusion is not in {__path__[0]}: if this is a clone of the repository, "
        "run `pip install --editable .` in it, or start Python in another folder to import what is installed"
    )

from skfusion import callback, diagnostics, display, partition, topology
from skfusion.classifier import FusedMLPClassifier
from skfusion.fusion import fuse
from skfusion.regressor import FusedMLPRegressor

__all__ = [
    "FusedMLPClassifier",
    "FusedMLPRegressor",
    "callback",
    "diagnostics",
    "display",
    "fuse",
    "partition",
    "topology",
]
__version__ = version("skfusion")
