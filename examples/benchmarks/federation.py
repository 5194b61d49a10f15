"""What clients train in federation, whichever program runs them: rows, network, rounds, and what is noted of them."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Schedule:
    """How clients train: some batches of their rows between rounds, by plain SGD."""

    hidden: tuple
    batch_size: int
    batches: int  # in a round
    rate: float
    reports: tuple  # rounds after which errors are noted; the last ends the training
    rounds_per_epoch: int = 5


class Federation:
    """Rows of clients in files of a folder, which all processes share.

    Parameters
    ----------
    folder : path-like
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        settings = json.loads(Path(folder, "schedule.json").read_text())
        self.schedule = Schedule(**settings | {name: tuple(settings[name]) for name in ("hidden", "reports")})

    @classmethod
    def save(cls, folder, arrays, schedule):
        """Write the rows to train on (X, y), their clients (owners) and those to test on (X_test, y_test)."""
        for name, array in arrays.items():
            np.save(Path(folder, f"{name}.npy"), array)
        Path(folder, "schedule.json").write_text(json.dumps(asdict(schedule)))
        return cls(folder)

    def array(self, name):
        """Return an array, of which only the parts that are used take memory."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    @cached_property
    def owners(self):
        """Number of each row's client."""
        return np.load(self.folder / "owners.npy")

    @property
    def n_clients(self):
        """How many clients there are."""
        return int(self.owners.max()) + 1

    @property
    def n_rounds(self):
        """After how many rounds training ends."""
        return self.schedule.reports[-1]

    @property
    def layer_sizes(self):
        """Units of each layer, inputs and outputs included."""
        return self.array("X").shape[1], *self.schedule.hidden, int(self.array("y_test").max()) + 1

    def rows(self, client, fusion_round):
        """Return X and y of a client's rows in a round, the first being 1: the next of a shuffled epoch."""
        epoch, part = divmod(fusion_round - 1, self.schedule.rounds_per_epoch)
        own = np.random.default_rng((client, epoch)).permutation(np.flatnonzero(self.owners == client))
        n_rows = self.schedule.batch_size * self.schedule.batches
        rows = own[part * n_rows : (part + 1) * n_rows]
        return self.array("X")[rows], self.array("y")[rows]

    def initial_layers(self):
        """Draw weights and biases in turn, as MLPClassifier does."""
        rng, layers = np.random.default_rng(0), []
        for fan_in, fan_out in zip(self.layer_sizes, self.layer_sizes[1:], strict=False):
            bound = np.sqrt(6 / (fan_in + fan_out))
            layers += [rng.uniform(-bound, bound, shape) for shape in ((fan_in, fan_out), fan_out)]
        return [array.astype(np.float32) for array in layers]

    def error(self, layers):
        """Test error of a network, from its weights and biases in turn."""
        values = np.asarray(self.array("X_test"))
        for layer in range(0, len(layers), 2):
            values = (np.tanh(values) if layer else values) @ layers[layer] + layers[layer + 1]
        return float(np.mean(values.argmax(axis=1) != self.array("y_test")))


class Record:
    """Notes when rounds end, test errors after some of them, and how many bytes clients have sent.

    Parameters
    ----------
    reports : tuple of int
        The rounds after which errors are noted.
    """

    def __init__(self, reports):
        self.reports = reports
        self.ends, self.errors, self.sent = [], {}, 0

    def note(self, done, errors):
        """Note the end of a round; ``errors`` is called for the errors of all networks if they are due."""
        self.ends.append((done, time.time()))
        if done in self.reports:
            self.errors[done] = errors()

    def write(self, file):
        """Write everything as JSON."""
        file.write_text(json.dumps({"ends": self.ends, "errors": self.errors, "sent": self.sent}))


def main(train):
    """Train as the command line says, SYSTEM FOLDER, and write the record there."""
    system, folder = sys.argv[1:]
    federation = Federation(folder)
    record = Record(federation.schedule.reports)
    train(system, federation, record)
    record.write(federation.folder / "record.json")
