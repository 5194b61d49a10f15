"""Peers at sites that keep their rows: a coordinator, and what carries messages back and forth."""

from skfusion.sites.coordinator import fit_sites
from skfusion.sites.folder import FolderTransport
from skfusion.sites.local import LocalTransport
from skfusion.sites.site import Site
from skfusion.sites.transport import BaseTransport

__all__ = ["BaseTransport", "FolderTransport", "LocalTransport", "Site", "fit_sites"]
