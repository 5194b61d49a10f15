"""Where the tests of sites find what runs Folders, NVFlare and Flower on this machine: the benchmarks use it, too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "examples" / "benchmarks"))
