"""Neural networks trained apart that learn from one another by averaging their weights."""

from importlib.metadata import version

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
