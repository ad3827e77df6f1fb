"""A network whose trainable parameters are views into one contiguous vector.

Aggregation, momentum, the proximal term, control variates and checkpoints are then operations on
whole vectors, and a client's model is set by one copy. The network is built once in a process; its
tensors never move again.

Three vectors hold the state: ``parameters_flat`` (what optimisers may touch), ``buffers_flat``
(running statistics, whose treatment in a federation is a declared choice) and ``counters_flat``
(batches seen by each batch normalisation). torch increments one counter a layer a step, which is
120 tiny operations in DenseNet121 and changes nothing where momentum is fixed; here the layers do
not carry the counter and the trainer adds a client's steps to the vector at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.models.layout import Layout, slots_for


@dataclass(slots=True, kw_only=True)
class _State:
    parameters: list[tuple[str, nn.Parameter]]
    buffers: list[tuple[str, Tensor]]
    counters: list[tuple[str, Tensor]]


class FlatModel:
    """A module on a device, and its state as vectors. The module must not be built again.

    Attributes
    ----------
    module : the network itself; call it as ever.
    device : where everything lives.
    parameters_flat : (P,) fp32, every trainable parameter in ``named_parameters`` order, 4-d
        convolution weights in channels-last element order.
    gradients_flat : (P,) fp32, ``.grad`` of the parameters, laid out alike; zeroed by one fill.
    buffers_flat : (Q,) fp32, persistent floating buffers (running means and variances).
    counters_flat : (R,) int64, the batches each batch normalisation has seen.
    layout : which name lies where.

    ``parameters`` and ``gradients``, where given, are the memory to use for those two vectors.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device | str,
        *,
        parameters: Tensor | None = None,
        gradients: Tensor | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.module = module.to(self.device)
        state = _collect(module)
        self.layout = Layout(
            parameters=slots_for(state.parameters),
            buffers=slots_for(state.buffers),
            counters=slots_for(state.counters),
        )
        sizes = self.layout.sizes
        self.parameters_flat = self._vector(sizes[0], parameters)
        self.gradients_flat = self._vector(sizes[0], gradients)
        self.buffers_flat = torch.zeros(sizes[1], device=self.device)
        self.counters_flat = torch.zeros(sizes[2], dtype=torch.int64, device=self.device)
        self._bind(state)

    def _vector(self, size: int, given: Tensor | None) -> Tensor:
        if given is None:
            return torch.zeros(size, device=self.device)
        assert given.shape == (size,), "memory for another network"
        return given

    def _bind(self, state: _State) -> None:
        with torch.no_grad():
            for slot, (_, parameter) in zip(self.layout.parameters, state.parameters, strict=True):
                view = slot.view(self.parameters_flat)
                view.copy_(parameter)
                parameter.data = view
                parameter.grad = slot.view(self.gradients_flat)
            for slot, (_, buffer) in zip(self.layout.buffers, state.buffers, strict=True):
                owner, leaf = _owner(self.module, slot.name)
                view = slot.view(self.buffers_flat)
                view.copy_(buffer)
                owner._buffers[leaf] = view
            for slot, (_, counter) in zip(self.layout.counters, state.counters, strict=True):
                owner, leaf = _owner(self.module, slot.name)
                slot.view(self.counters_flat).copy_(counter)
                owner._buffers[leaf] = None

    @property
    def vectors(self) -> dict[str, Tensor]:
        """All that tells this model from another of its network, live: ``parameters`` (P,),
        ``buffers`` (Q,) and ``counters`` (R,)."""
        return {
            "parameters": self.parameters_flat,
            "buffers": self.buffers_flat,
            "counters": self.counters_flat,
        }

    def copies(self) -> dict[str, Tensor]:
        """Copies of the :attr:`vectors`."""
        return {name: vector.clone() for name, vector in self.vectors.items()}

    def restore(self, vectors: Mapping[str, Tensor]) -> None:
        """Becomes the model of those :attr:`vectors`, by copying; other names are passed over."""
        for name, vector in self.vectors.items():
            vector.copy_(vectors[name])

    def named_tensors(self) -> dict[str, Tensor]:
        """The network's state dict as contiguous copies, counters included, for safetensors."""
        tensors = {
            slot.name: slot.view(vector).detach().clone(memory_format=torch.contiguous_format)
            for slots, vector in zip(self.layout.groups, self.vectors.values(), strict=True)
            for slot in slots
        }
        for name, tensor in self.module.state_dict().items():
            if name not in tensors:
                tensors[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
        return tensors

    def zero_gradients(self) -> None:
        """Every gradient to zero: one fill."""
        self.gradients_flat.zero_()

    def count_steps(self, steps: int) -> None:
        """Adds ``steps`` batches to every batch normalisation's counter."""
        if self.counters_flat.numel():
            self.counters_flat.add_(steps)

    def first_non_finite(self) -> str | None:
        """The name of the first tensor holding NaN or infinity, or None; synchronises a GPU."""
        for slots, vector in (
            (self.layout.parameters, self.parameters_flat),
            (self.layout.buffers, self.buffers_flat),
        ):
            if vector.numel() == 0 or bool(torch.isfinite(vector).all()):
                continue
            for slot in slots:
                if not bool(torch.isfinite(slot.view(vector)).all()):
                    return slot.name
        return None


def _collect(module: nn.Module) -> _State:
    """Sorts the module's state; what is not trained and not persistent stays where it is.

    Frozen parameters, buffers that are not saved (attention masks, position indices) and integer
    buffers other than batch counters are constants of the network.
    """
    state = _State(
        parameters=[(n, p) for n, p in module.named_parameters() if p.requires_grad],
        buffers=[],
        counters=[],
    )
    for name, parameter in state.parameters:
        if parameter.dtype != torch.float32:
            raise TypeError(f"parameter {name} is {parameter.dtype}, not float32")
    for prefix, owner in module.named_modules():
        for leaf, buffer in owner._buffers.items():
            if buffer is None or leaf in owner._non_persistent_buffers_set:
                continue
            name = f"{prefix}.{leaf}" if prefix else leaf
            if isinstance(owner, _BatchNorm) and leaf == "num_batches_tracked":
                state.counters.append((name, buffer))
            elif buffer.dtype == torch.float32:
                state.buffers.append((name, buffer))
    return state


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf
