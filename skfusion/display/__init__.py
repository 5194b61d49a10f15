"""Displays: how training went, whom a round joins, and who sees which classes; they need matplotlib."""

from skfusion.display._curve import FusionCurveDisplay
from skfusion.display._partition import PartitionDisplay
from skfusion.display._topology import TopologyDisplay

__all__ = ["FusionCurveDisplay", "PartitionDisplay", "TopologyDisplay"]
