"""What a round comes to on average, before anyone trains: who reports, and the images they pass.

Nothing here needs torch, so that a plan of many scenarios is quick.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.federation.sampling import rounded, sample_size
from bench.suites.choice import Choice
from bench.suites.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """How many clients train and report in a round."""

    fewest: int
    mean: float
    most: int

    @property
    def varies(self) -> bool:
        """Whether chance decides how many they are."""
        return self.fewest < self.most


def reporting(scenario: Scenario) -> Reporting:
    """Who is left of a scenario's clients after sampling, dropout and stragglers."""
    poisson = _by_chance(scenario)
    drawn = scenario.clients if poisson else sample_size(scenario.clients, scenario.fraction)
    leaving = _late(scenario, drawn) if scenario.stragglers.name == "dropped" else 0.0
    mean = scenario.fraction * scenario.clients if poisson else float(drawn)
    most = drawn - rounded(leaving * drawn)
    return Reporting(
        fewest=0 if poisson or scenario.dropout else most,
        mean=mean * (1.0 - leaving) * (1.0 - scenario.dropout),
        most=most,
    )


def images_a_round(scenario: Scenario, images: int) -> float:
    """Images passed forward and backward in a round on average, where the ``images`` to train on
    are divided equally.

    All that a client passes counts: its training, further ones beside it, and passes that only
    measure the loss or the gradient.
    """
    again, over_all = _beside(scenario.strategy)
    smaller, larger = divmod(images, scenario.clients)
    visits = sum(
        count * ((1 + again) * _work(scenario, size) + over_all * size)
        for size, count in ((smaller, scenario.clients - larger), (smaller + 1, larger))
        if size
    )
    return reporting(scenario).mean * visits / scenario.clients


def _beside(strategy: Choice) -> tuple[int, int]:
    """What a client passes beside its main training: how often the same work again, and how many
    epochs over all its images whatever its work is."""
    if strategy.name == "ditto":
        return 1, 0
    if strategy.name == "fedrep":
        return 0, strategy["head_epochs"]
    measures = strategy.name == "qfedavg" or (
        strategy.name == "scaffold" and strategy["option"] == 1
    )
    return 0, int(measures)


def _late(scenario: Scenario, drawn: int) -> float:
    """The share of stragglers: of a fixed number of clients a whole number of them; where chance
    draws the clients, that they are rounded in every round is left out."""
    if scenario.stragglers.name == "none":
        return 0.0
    share = float(scenario.stragglers["share"])
    return share if _by_chance(scenario) else rounded(share * drawn) / drawn


def _by_chance(scenario: Scenario) -> bool:
    """Whether the number of clients that are drawn differs from round to round."""
    return scenario.sampling == "poisson" and scenario.fraction < 1.0


def _work(scenario: Scenario, size: int) -> float:
    """Images of the work of a client that has ``size``, stragglers among them."""
    batch = min(scenario.batch_size or size, size)
    batches = -(-size // batch)
    if batch > 1 and batches > 1 and size % batch == 1:
        batches -= 1  # a last batch of one image joins the one before it
    epochs, steps = scenario.local_epochs, scenario.local_steps
    passes, rest = (epochs, 0) if steps is None else divmod(steps, batches)
    whole = float(passes * size + rest * batch)
    if scenario.stragglers.name != "partial":
        return whole
    late = _late(scenario, sample_size(scenario.clients, scenario.fraction))
    if steps is None and epochs > 1:
        part = size * epochs / 2  # the mean of 1 … E - 1 epochs
    else:
        part = _part(size, batch, batches, passes * batches + rest) or whole
    return (1.0 - late) * whole + late * part


def _part(size: int, batch: int, batches: int, steps: int) -> float:
    """Images of 1 … τ - 1 of τ ``steps``, on average; 0 where τ is 1."""
    passes, rest = divmod(steps, batches)
    whole_passes = size * (batches * passes * (passes - 1) / 2 + rest * passes)
    broken_off = batch * (passes * batches * (batches - 1) / 2 + rest * (rest - 1) / 2)
    return (whole_passes + broken_off) / (steps - 1) if steps > 1 else 0.0
