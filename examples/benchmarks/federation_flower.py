"""A federation by Flower's simulation: python federation_flower.py {MLPClassifier,PyTorch} FOLDER."""

import os
from importlib import import_module

from federation import Federation, main
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

MODULES = {"MLPClassifier": "federation_sklearn", "PyTorch": "federation_torch"}


def train(system, federation, record):
    """Run a server and as many clients as there are, one on each core at a time."""
    run_simulation(
        server_app(federation, record),
        client_app(system, federation.folder),
        num_supernodes=federation.n_clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": os.cpu_count(), "include_dashboard": False},
        },
    )


def client_app(system, folder):
    """Return what trains on a client's rows in a round."""
    app = ClientApp()

    @app.train()
    def train_client(message, context):
        federation = Federation(folder)
        layers = message.content["arrays"].to_numpy_ndarrays()
        X, y = federation.rows(context.node_config["partition-id"], message.content["config"]["server-round"])
        trained = import_module(MODULES[system]).train(layers, X, y, federation.schedule)
        content = {"arrays": ArrayRecord(trained), "metrics": MetricRecord({"num-examples": len(y)})}
        return Message(RecordDict(content), reply_to=message)

    return app


def server_app(federation, record):
    """Return what averages the clients' networks in each round."""
    app = ServerApp()

    @app.main()
    def serve(grid, context):
        Counting(record, federation.n_clients).start(
            grid,
            ArrayRecord(federation.initial_layers()),
            num_rounds=federation.n_rounds,
            evaluate_fn=note,
        )

    def note(server_round, arrays):
        if server_round:
            record.note(server_round, lambda: [federation.error(arrays.to_numpy_ndarrays())])

    return app


class Counting(FedAvg):
    """FedAvg that counts what clients send, and does without none of them."""

    def __init__(self, record, n_clients):
        super().__init__(fraction_evaluate=0.0, min_train_nodes=n_clients, min_available_nodes=n_clients)
        self.record, self.n_clients = record, n_clients

    def aggregate_train(self, server_round, replies):
        """Average the replies."""
        replies = list(replies)
        if len(replies) < self.n_clients or any(reply.has_error() for reply in replies):
            raise RuntimeError(f"a client failed in round {server_round}")
        self.record.sent += sum(reply.content["arrays"].count_bytes() for reply in replies)
        return super().aggregate_train(server_round, replies)


if __name__ == "__main__":
    main(train)
