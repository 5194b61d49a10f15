"""A run of training in a file, from which a coordinator that was killed goes on to the same bits.

The file is an .npz of plain arrays: peers' state, and under "header" a string of JSON with all else.
"""

import io
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from skfusion._checks import shown
from skfusion._replacing import replacing
from skfusion._training.ensemble import Progress
from skfusion.sites.message import Message

AFRESH = "name another file, or remove this one to start afresh"
_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A run of training, maybe in the middle of an epoch.

    Attributes
    ----------
    run : str
    number : int
        Of the next exchange.
    identity : dict
        What must be as it was for the run to go on.
    entropy : list of int
        Of all the randomness.
    progress : dict
        A Progress, packed.
    history : list of dict
    n_epochs : int
        How many of the epochs belong to the run.
    best : float
    n_without : int
        What Stopping knows.
    n_segments : int
        How many segments of the epoch are done.
    absent_since : dict of str to int
        For each site that sits the epoch out the first segment without it.
    arrays : dict of str to ndarray
        The peers' state, and maybe "spread" and "best_weights".
    """

    run: str
    number: int
    identity: dict[str, Any]
    entropy: list[int]
    progress: dict[str, Any]
    history: list[dict[str, Any]]
    n_epochs: int
    best: float
    n_without: int
    n_segments: int
    absent_since: dict[str, int]
    arrays: dict[str, np.ndarray]

    def write(self, path):
        """Write the file; whoever reads it finds all of it, or all of the one before.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        header = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "arrays"}
        with replacing(path, durable=True) as file:  # of the states before it, sites keep the latest alone
            np.savez(file, header=json.dumps({"version": _VERSION, **header}), **self.arrays)

    @classmethod
    def read(cls, path):
        """Read the file, without executing anything in it; returns None if there is none.

        Raises
        ------
        OSError
            If it cannot be read.
        ValueError
            If it is not a complete checkpoint.
        """
        try:
            data = Path(path).read_bytes()  # all at once, so that errors of the drive are none of the content
        except FileNotFoundError:
            return None
        try:
            arrays = dict(np.load(io.BytesIO(data), allow_pickle=False))
            header = json.loads(arrays.pop("header").item())
            version = header.pop("version")
            checkpoint = cls(**header, arrays=arrays) if version == _VERSION else None  # others have other entries
        except MemoryError:
            raise
        except Exception:  # whatever numpy, zipfile and json make of bytes that may be anything
            raise ValueError(
                f"{path} must be a complete checkpoint, as fit_sites writes it; it is not, or was cut short; {AFRESH}"
            ) from None
        if checkpoint is None:
            raise ValueError(f"{path} must be a checkpoint of version {_VERSION}, got {shown(version)}")
        return checkpoint

    def message(self):
        """Return the arrays as a message, which checks them as it checks a site's."""
        return Message("checkpoint", self.run, self.number, "", {}, self.arrays)


def pack_progress(progress):
    """Return a Progress as JSON."""
    return {
        "n_seeds": progress.seeds.n_children_spawned,
        "partition_rng": _pack_rng(progress.partition_rng),
        "topology_rng": _pack_rng(progress.topology_rng),
        "epoch": progress.epoch,
        "step": progress.step,
        "fusion_round": progress.fusion_round,
    }


def unpack_progress(packed, entropy):
    """Return a Progress from JSON."""
    seeds = np.random.SeedSequence(entropy, n_children_spawned=packed["n_seeds"])
    generators = (_unpack_rng(packed[name]) for name in ("partition_rng", "topology_rng"))
    return Progress(seeds, *generators, packed["epoch"], packed["step"], packed["fusion_round"])


def _pack_rng(rng):
    kind, words, *others = rng.get_state()
    return [kind, words.tolist(), *others]


def _unpack_rng(packed):
    rng = np.random.RandomState(np.random.MT19937(0))
    rng.set_state(tuple(packed))
    return rng
