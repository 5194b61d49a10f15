"""A federation by fluke: python federation_fluke.py {FedAVG,SCAFFOLD} FOLDER."""

import federation_torch
import torch
from federation import main
from fluke import DDict, FlukeENV
from fluke.algorithms.fedavg import FedAVG
from fluke.algorithms.scaffold import SCAFFOLD
from fluke.data import DataSplitter, DummyDataContainer, FastDataLoader

BYTES_PER_NUMBER = 4
ALGORITHMS = {"FedAVG": FedAVG, "SCAFFOLD": SCAFFOLD}


def train(system, federation, record):
    """Run all rounds of an algorithm, with all clients in each."""
    FlukeENV().set_seed(0)
    FlukeENV().set_eval_cfg(server=False)
    schedule = federation.schedule
    loaders = [RoundLoader(federation, client) for client in range(federation.n_clients)]
    data = DummyDataContainer(loaders, [None] * len(loaders), None, num_classes=federation.layer_sizes[-1])
    client = DDict(
        batch_size=schedule.batch_size,
        local_epochs=1,  # of what a loader serves in a round
        loss="CrossEntropyLoss",
        optimizer=DDict(name="SGD", lr=schedule.rate),
        scheduler=DDict(step_size=1, gamma=1),
    )
    model = federation_torch.network(federation.initial_layers())
    algorithm = ALGORITHMS[system](
        len(loaders), DataSplitter(data), DDict(client=client, server=DDict(weighted=True), model=model)
    )
    monitor = Monitor(federation, record, model)
    algorithm.attach(monitor)
    algorithm.server.channel.attach(monitor)
    algorithm.run(federation.n_rounds, eligible_perc=1.0)


class RoundLoader(FastDataLoader):
    """Serves a client's rows of the next round each time that it is gone through."""

    def __init__(self, federation, client):
        self.federation, self.client, self.round = federation, client, 0
        super().__init__(
            *map(torch.tensor, federation.rows(client, 1)),
            num_labels=federation.layer_sizes[-1],
            batch_size=federation.schedule.batch_size,
        )

    def __iter__(self):
        self.round += 1
        self.tensors = [torch.tensor(array) for array in self.federation.rows(self.client, self.round)]
        self.size = self.max_size = len(self.tensors[0])
        return super().__iter__()


class Monitor:
    """Notes rounds, and counts what clients send; an observer of algorithm and channel."""

    def __init__(self, federation, record, model):
        self.federation, self.record, self.model = federation, record, model

    def end_round(self, round):
        """Note a round."""
        self.record.note(round, lambda: [self.federation.error(federation_torch.layers_of(self.model))])

    def message_sent(self, to, message):
        """Count a message to the server."""
        if to == "server":
            self.record.sent += message.size * BYTES_PER_NUMBER


if __name__ == "__main__":
    main(train)
