"""Neural networks trained apart that learn from one another by averaging their weights."""

from importlib.metadata import version

try:
    import skfusion._kernels
except ModuleNotFoundError as error:
    if error.name != "skfusion._kernels":
        raise
    raise ImportError(
        f"the compiled core of skfusion is not in {__path__[0]}: if this is a clone of the repository, "
        "run `pip install --editable .` in it, or start Python in another folder to import what is installed"
    ) from error

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
