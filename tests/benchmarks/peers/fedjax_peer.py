"""fedjax's federated averaging, its clients one after another under ``jit``."""

from __future__ import annotations

from typing import Any

import fedjax
import haiku as hk
import jax
import jax.numpy as jnp
from workload import CLIENTS, LEARNING_RATE, SELECTED, Clock, Workload, asked, chosen, data, rows


def forward(workload: Workload, images: Any) -> Any:
    """The same networks as the others', in haiku."""
    x = images
    if workload.network == "2nn":
        layers: list[Any] = [hk.Flatten(), hk.Linear(200), jax.nn.relu, hk.Linear(200)]
        return hk.Sequential([*layers, jax.nn.relu, hk.Linear(10)])(x)
    for channels in (32, 64):
        x = hk.Conv2D(channels, 5, padding="SAME")(x)
        x = hk.max_pool(jax.nn.relu(x), (2, 2, 1), (2, 2, 1), "VALID")
    return hk.Sequential([hk.Flatten(), hk.Linear(512), jax.nn.relu, hk.Linear(10)])(x)


def model_for(workload: Workload) -> Any:
    transformed = hk.transform(lambda batch: forward(workload, batch["x"]))
    return fedjax.create_model_from_haiku(
        transformed_forward_pass=transformed,
        sample_batch={"x": jnp.zeros((1, 28, 28, 1)), "y": jnp.zeros(1, jnp.int32)},
        train_loss=lambda batch, logits: fedjax.metrics.unreduced_cross_entropy_loss(
            batch["y"], logits
        ),
        eval_metrics={},
    )


def main() -> None:
    workload, rounds = asked()
    clock = Clock()
    pixels, labels = data(workload)
    images = pixels[..., None].astype("float32") / 255
    targets = labels.astype("int32")
    model = model_for(workload)
    clients = [
        fedjax.ClientDataset({"x": images[place], "y": targets[place]})
        for place in (rows(workload, number) for number in range(CLIENTS))
    ]
    algorithm = fedjax.algorithms.fed_avg.federated_averaging(
        grad_fn=fedjax.model_grad(model),
        client_optimizer=fedjax.optimizers.sgd(LEARNING_RATE),
        server_optimizer=fedjax.optimizers.sgd(1.0),
        client_batch_hparams=fedjax.ShuffleRepeatBatchHParams(
            batch_size=workload.batch, num_epochs=1
        ),
    )
    state = algorithm.init(model.init(jax.random.PRNGKey(0)))
    for number in range(rounds):
        keys = jax.random.split(jax.random.PRNGKey(number), SELECTED)
        cohort = [
            (str(client), clients[client], key)
            for client, key in zip(map(int, chosen(number)), keys, strict=True)
        ]
        state, _ = algorithm.apply(state, cohort)
        jax.block_until_ready(state.params)
        clock.lap()
    clock.report()


main()
