"""Flower's simulation, with as many actors as there are processors, evaluation off."""

from __future__ import annotations

from typing import Any

from flower_client import Client
from flwr.client import ClientApp
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.simulation import run_simulation
from networks import network
from workload import CLIENTS, SELECTED, Clock, asked

WORKLOAD, ROUNDS = asked()
CLOCK = Clock()


class Timed(FedAvg):
    """FedAvg that notes when a round's models are averaged."""

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        assert not failures, failures
        aggregated = super().aggregate_fit(server_round, results, failures)
        CLOCK.lap()
        return aggregated


def client_fn(context: Context) -> Any:
    return Client(int(context.node_config["partition-id"])).to_client()


def server_fn(context: Context) -> ServerAppComponents:
    start = [p.detach().numpy() for p in network(WORKLOAD.network).parameters()]
    strategy = Timed(
        fraction_fit=SELECTED / CLIENTS,
        fraction_evaluate=0.0,
        min_available_clients=CLIENTS,
        initial_parameters=ndarrays_to_parameters(start),
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=ROUNDS))


def main() -> None:
    run_simulation(
        server_app=ServerApp(server_fn=server_fn),
        client_app=ClientApp(client_fn=client_fn),
        num_supernodes=CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    CLOCK.report()


main()
