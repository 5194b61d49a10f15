"""What a site is to do: all that training needs beside its rows and the state of its peers.

Each request that concerns training has a plan in its content, under "plan", and among its arrays, so that a site need
remember nothing.
"""

from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from skfusion._checks import check_choice, check_flag, check_integer, check_real, shown
from skfusion._parameters import check_drift, check_solver
from skfusion._row_weights import WeightScale
from skfusion._training.network import ACTIVATIONS, OUTPUTS, Network
from skfusion._training.problem import Settings
from skfusion.sites._description import ROW_DTYPES
from skfusion.sites._labels import pack_labels, unpack_labels
from skfusion.sites._scaling import Scaling
from skfusion.sites.message import Message, MessageError, check_known

# The settings that concern a site.
_SETTINGS = (
    *("solver", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon"),
    *("learning_rate", "learning_rate_init", "power_t", "l1", "l2", "batch_size", "shuffle"),
    *("fusion_unit", "drift_correction", "fusion_momentum"),
)
_MAX_LAYERS = 1000


@dataclass(frozen=True)
class Plan:
    """What a site is to do.

    Attributes
    ----------
    peers : list of str
        The site's peers, in the order in which their state is sent.
    lengths : list of int
        For each of them how many rows it has.
    n_networks : int
        How many peers there are at all sites.
    longest : int
        How many rows the peer with the most rows trains on, at any site.
    dtype : {"float32", "float64"}
        Of rows and weights.
    network : Network
    settings : Settings
    classes : ndarray of shape (n_classes,) or None
    by_class : bool
        Whether rows are weighted class by class.
    weight_scale : WeightScale or None
    scaling : Scaling
    held_out : list of bool ndarray or None
        For each peer which of its rows are held out, None for none.
    checksum : str
        Of the site's rows, as it reported it.
    background : ndarray of shape (n_features,) or None
        What dense rows are to be taken as deviations from.
    """

    peers: list[str]
    lengths: list[int]
    n_networks: int
    longest: int
    dtype: str
    network: Network
    settings: Settings
    classes: np.ndarray | None
    by_class: bool
    weight_scale: WeightScale | None
    scaling: Scaling
    held_out: list[np.ndarray] | None
    checksum: str
    background: np.ndarray | None = None

    def content(self) -> dict[str, Any]:
        """Return the part of it that is JSON."""
        network = self.network
        return {
            "peers": self.peers,
            "lengths": self.lengths,
            "n_networks": self.n_networks,
            "longest": self.longest,
            "dtype": self.dtype,
            "layer_sizes": list(network.layer_sizes),
            "activation": network.activation,
            "output": network.output,
            "settings": {name: getattr(self.settings, name) for name in _SETTINGS},
            "classes": None if self.classes is None else pack_labels(self.classes),
            "by_class": self.by_class,
            "checksum": self.checksum,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return its arrays."""
        arrays = {"mean": self.scaling.mean, "scale": self.scaling.scale, "background": self.background}
        if self.weight_scale is not None:
            arrays |= {"maxima": self.weight_scale.maxima, "relative_maxima": self.weight_scale.relative_maxima}
        for k, rows in enumerate(self.held_out or ()):
            arrays[f"held_out_{k}"] = np.packbits(rows)
        return {name: array for name, array in arrays.items() if array is not None}

    @classmethod
    def read(cls, message: Message) -> Self:
        """Take it from a message, or raise MessageError."""
        try:
            entries = message.entry("plan", dict)
            plan = cls._read(Message("plan", "", 0, "", entries, message.arrays))
            check_known(entries, plan.content())
        except (TypeError, ValueError) as error:
            raise MessageError(f"the plan cannot be followed: {error}") from None
        return plan

    @classmethod
    def _read(cls, plan):
        peers, lengths = plan.entry("peers", list), plan.entry("lengths", list)
        lengths = [check_integer("lengths", length, 1) for length in lengths]
        names = {peer for peer in peers if isinstance(peer, str)}
        if not peers or not len(lengths) == len(peers) == len(names):
            raise MessageError(f"peers must be named once each, with their lengths; got {shown(peers)}")
        network, by_class = _network(plan), plan.entry("by_class", bool)
        classes = plan.entry("classes", dict, type(None))
        classes = None if classes is None else unpack_labels(classes)
        n_features, dtype = network.layer_sizes[0], check_choice("dtype", plan.entry("dtype", str), ROW_DTYPES)
        return cls(
            peers=peers,
            lengths=lengths,
            n_networks=check_integer("n_networks", plan.entry("n_networks", int), len(peers)),
            longest=check_integer("longest", plan.entry("longest", int), 1),
            dtype=dtype,
            network=network,
            settings=_settings(plan.entry("settings", dict)),
            classes=classes,
            by_class=by_class,
            weight_scale=_weight_scale(plan, len(classes) if by_class else 1),
            scaling=_scaling(plan, n_features),
            held_out=_held_out(plan, lengths),
            checksum=plan.entry("checksum", str),
            background=_optional(plan, "background", (n_features,), dtype),
        )


def _network(plan):
    sizes = [check_integer("layer_sizes", size, 1) for size in plan.entry("layer_sizes", list)]
    if not 2 <= len(sizes) <= _MAX_LAYERS:
        raise MessageError(f"layer_sizes must have from 2 to {_MAX_LAYERS} entries, got {len(sizes)}")
    activation = check_choice("activation", plan.entry("activation", str), ACTIVATIONS)
    return Network(tuple(sizes), activation, check_choice("output", plan.entry("output", str), OUTPUTS))


def _settings(content):
    check_known(content, _SETTINGS)
    given = SimpleNamespace(**{name: content.get(name) for name in _SETTINGS}, l1_ratio=content.get("l1"))
    checked = (
        check_solver(given)
        | check_drift(given)
        | {
            "l1": check_real("l1", given.l1, open_maximum=True),
            "l2": check_real("l2", given.l2, open_maximum=True),
            "batch_size": check_integer("batch_size", given.batch_size, 1),
            "shuffle": check_flag("shuffle", given.shuffle),
            "fusion_unit": check_choice("fusion_unit", given.fusion_unit, ("epoch", "step")),
        }
    )
    return Settings(**(dict.fromkeys(field.name for field in fields(Settings)) | checked))


def _optional(plan, name, shape, dtype=np.float64):
    """Return an array that may be missing."""
    return plan.array(name, dtype, shape) if name in plan.arrays else None


def _scaling(plan, n_features):
    mean, scale = (_optional(plan, name, (n_features,)) for name in ("mean", "scale"))
    if scale is not None and not (scale > 0).all():
        raise MessageError("array 'scale' must be positive")
    return Scaling(mean, scale)


def _weight_scale(plan, n_sums):
    if "maxima" not in plan.arrays:
        return None
    return WeightScale(*(plan.array(name, np.float64, (n_sums,)) for name in ("maxima", "relative_maxima")))


def _held_out(plan, lengths):
    if "held_out_0" not in plan.arrays:
        return None
    packed = [plan.array(f"held_out_{k}", np.uint8, (-(-length // 8),)) for k, length in enumerate(lengths)]
    return [np.unpackbits(bits, count=length).astype(bool) for bits, length in zip(packed, lengths, strict=True)]
