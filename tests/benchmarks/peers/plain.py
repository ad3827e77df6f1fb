"""A hand-written loop: one model, one flat copy of the global parameters, nothing else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from networks import network
from workload import LEARNING_RATE, Clock, asked, chosen, data, rows


def main() -> None:
    workload, rounds = asked()
    clock = Clock()
    pixels, labels = data(workload)
    images = torch.from_numpy(pixels).unsqueeze(1).float().div_(255)
    targets = torch.from_numpy(labels)
    model = network(workload.network).to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    server = [p.detach().clone() for p in parameters]
    for number in range(rounds):
        clients = chosen(number)
        total = [torch.zeros_like(p) for p in server]
        for client in clients:
            place = rows(workload, int(client))
            with torch.no_grad():
                torch._foreach_copy_(parameters, server)
            order = torch.randperm(workload.images) + place.start
            for batch in order.split(workload.batch):
                loss = F.cross_entropy(model(images[batch]), targets[batch])
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    torch._foreach_add_(parameters, gradients, alpha=-LEARNING_RATE)
            with torch.no_grad():
                torch._foreach_add_(total, parameters, alpha=1 / len(clients))
        server = total
        clock.lap()
    clock.report()


main()
