"""Neural networks trained apart that learn from one another by averaging their weights."""

from importlib.metadata import version

from skfusion import diagnostics, partition, topology
from skfusion.classifier import FusedMLPClassifier
from skfusion.fusion import fuse

__all__ = ["FusedMLPClassifier", "diagnostics", "fuse", "partition", "topology"]
__version__ = version("skfusion")
