"""What clients keep between rounds: control variates, personal parameters, local statistics.

A client's state is a dictionary of tensors. States stay in memory within a budget; older ones go to
disk. A state's file carries the round it was written in and is never changed, and the run's
checkpoint names the round of every client's current file. So whatever moment a process is killed
at, the files of the last checkpoint are all there, and files it does not name are litter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from bench.atomic import TEMPORARY, write_bytes
from bench.errors import ResultsError

State = dict[str, Tensor]
MEMORY_BYTES = 2**31
"""The states held in memory, in all; about 70 copies of DenseNet121."""
SUFFIX = ".safetensors"


class ClientStore:
    """The states of a federation's clients.

    A state handed out by :meth:`get` is live: change its tensors in place, then :meth:`put` it.
    Call :meth:`flush` before a checkpoint that records :attr:`versions`, and :meth:`commit` after.
    """

    def __init__(
        self, folder: Path, *, memory_bytes: int = MEMORY_BYTES, device: torch.device | str = "cpu"
    ) -> None:
        self.folder = folder
        self.device = torch.device(device)
        self.versions: dict[int, int] = {}
        """The round each client's current state was put in."""
        self._memory: OrderedDict[int, State] = OrderedDict()
        self._unwritten: set[int] = set()
        self._committed: dict[int, int] = {}
        self._budget = memory_bytes
        self._held = 0

    def __contains__(self, client: int) -> bool:
        return client in self.versions

    def get(self, client: int) -> State | None:
        """The client's state, on the store's device; None where it has none yet.

        Raises ResultsError where its file is missing or damaged.
        """
        if client not in self.versions:
            return None
        if client not in self._memory:
            self._hold(client, self._read(client))
        self._memory.move_to_end(client)
        return self._memory[client]

    def put(self, client: int, round: int, state: State) -> None:
        """Makes ``state`` the client's, as of ``round``; the tensors are kept, not copied."""
        before = self.versions.get(client)
        if before is not None and before not in (round, self._committed.get(client)):
            self._path(client, before).unlink(missing_ok=True)
        self.versions[client] = round
        self._unwritten.add(client)
        self._hold(client, state)

    def take(self, client: int) -> tuple[State, int]:
        """A client's state and its round, which another process's store is to have from now on.

        Raises ResultsError as :meth:`get` does.
        """
        state = self.get(client)
        assert state is not None, f"client {client} has no state"
        self._held -= _bytes(self._memory.pop(client).values())
        self._unwritten.discard(client)
        return state, self.versions[client]

    def flush(self) -> None:
        """Writes every state that is in memory only."""
        for client in sorted(self._unwritten):
            self._write(client)

    def commit(self, *, sweep: bool = True) -> None:
        """Deletes every file but the current ones: a checkpoint on disk now names those.

        Of several processes that share the folder one sweeps; the others only take note.
        """
        assert not self._unwritten, "flush before the checkpoint, commit after it"
        self._committed = dict(self.versions)
        if not sweep:
            return
        current = {self._path(c, r).name for c, r in self.versions.items()}
        for file in self._files():
            if file.name not in current:
                file.unlink(missing_ok=True)

    def restore(self, versions: dict[int, int]) -> None:
        """Goes back to the states that a checkpoint recorded."""
        self._memory.clear()
        self._unwritten.clear()
        self._held = 0
        self.versions = dict(versions)
        self._committed = dict(versions)

    def discard(self) -> None:
        """Forgets every state and deletes every file and the folder."""
        self.restore({})
        for file in self._files():
            file.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _hold(self, client: int, state: State) -> None:
        if client in self._memory:
            self._held -= _bytes(self._memory.pop(client).values())
        self._memory[client] = state
        self._held += _bytes(state.values())
        while self._held > self._budget and len(self._memory) > 1:
            oldest = next(iter(self._memory))
            if oldest in self._unwritten:
                self._write(oldest)
            self._held -= _bytes(self._memory.pop(oldest).values())

    def _write(self, client: int) -> None:
        from safetensors.torch import save

        state = {name: t.detach().cpu().contiguous() for name, t in self._memory[client].items()}
        write_bytes(self._path(client, self.versions[client]), save(state))
        self._unwritten.discard(client)

    def _read(self, client: int) -> State:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._path(client, self.versions[client])
        try:
            return load_file(path, device=str(self.device))
        except (OSError, SafetensorError) as error:
            raise ResultsError(
                f"the state of client {client} cannot be read",
                where=path,
                found=str(error),
                mend="run the scenario again with --fresh",
            ) from error

    def _path(self, client: int, round: int) -> Path:
        return self.folder / f"client-{client:06d}-round-{round:06d}{SUFFIX}"

    def _files(self) -> list[Path]:
        """The store's files, and what a killed process left half written."""
        return [*self.folder.glob(f"client-*{SUFFIX}"), *self.folder.glob(TEMPORARY)]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
