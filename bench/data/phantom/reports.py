"""From what a study shows to what its report's labels say: mentioned, hedged, denied or left out.

CheXpert's training labels come from free-text reports. A radiologist names what is there, hedges
what is faint ("possible", "cannot be excluded": label -1), denies what was asked for ("no
pneumothorax": 0) and leaves the rest unsaid (blank). Here each of these is a chance per
observation; the chance to hedge grows as a true finding gets fainter and as a false appearance gets
plainer. Valid and test labels are the truth itself, as CheXpert's are a panel's reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.phantom import clinic
from bench.data.phantom.clinic import SplitName, Study
from bench.observations import NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN
from bench.randomness import generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How reports speak of one observation; each a probability."""

    named: float
    """A true finding is mentioned at all."""
    hedged: float
    """A mentioned one is hedged, at severity 1/2; proportional to 2 · (1 - severity)."""
    suspected: float
    """A false appearance is raised as possible, at severity 1/2; proportional to 2 · severity."""
    denied: float
    """Where it is absent and not suspected: said to be absent."""


# Their pattern, not their values, is that of the training labels in Irvin et al. 2019, Table 1:
# atelectasis, consolidation, pneumonia and edema are hedged most, pneumothorax and effusion denied
# most, and a device is hardly ever in doubt.
HABITS: dict[str, Habit] = {
    "Enlarged Cardiomediastinum": Habit(named=0.60, hedged=0.30, suspected=0.10, denied=0.12),
    "Cardiomegaly": Habit(named=0.95, hedged=0.16, suspected=0.08, denied=0.14),
    "Lung Opacity": Habit(named=0.85, hedged=0.06, suspected=0.06, denied=0.06),
    "Lung Lesion": Habit(named=0.90, hedged=0.16, suspected=0.06, denied=0.02),
    "Edema": Habit(named=0.95, hedged=0.28, suspected=0.16, denied=0.20),
    "Consolidation": Habit(named=0.95, hedged=0.36, suspected=0.15, denied=0.22),
    "Pneumonia": Habit(named=0.80, hedged=0.50, suspected=0.24, denied=0.05),
    "Atelectasis": Habit(named=0.95, hedged=0.42, suspected=0.24, denied=0.02),
    "Pneumothorax": Habit(named=0.95, hedged=0.12, suspected=0.06, denied=0.40),
    "Pleural Effusion": Habit(named=0.96, hedged=0.16, suspected=0.14, denied=0.26),
    "Pleural Other": Habit(named=0.75, hedged=0.30, suspected=0.06, denied=0.01),
    "Fracture": Habit(named=0.85, hedged=0.08, suspected=0.03, denied=0.06),
    "Support Devices": Habit(named=0.98, hedged=0.01, suspected=0.01, denied=0.06),
}


def study_labels(study: Study, split: SplitName, seed: int) -> NDArray[np.float32]:
    """(14,) 1, 0, -1 or NaN in the order of ``OBSERVATIONS``; no blank or -1 outside ``train``."""
    truth = clinic.truth(study.present[None])[0]
    if split != "train":
        return truth.astype(np.float32)
    rng = generator(seed, "phantom/report", round=study.number, client=study.patient)
    return report(truth, study.severity, rng.random((len(OBSERVATIONS), 3)))


def report(
    truth: NDArray[np.bool_], severity: NDArray[np.float64], chance: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(14,) labels of a report from (14,) truths, (12,) severities and (14, 3) uniform numbers.

    No Finding is 1 where nothing but devices is positive or uncertain, else blank; a report never
    says it is absent or doubtful.
    """
    labels = np.full(len(OBSERVATIONS), np.nan, dtype=np.float32)
    for i, name in enumerate(OBSERVATIONS):
        if name != "No Finding":
            parts = clinic.finding_indices(clinic.UNIONS.get(name, (name,)))
            plain = float(severity[parts].max())
            labels[i] = _mention(HABITS[name], bool(truth[i]), plain, chance[i])
    spoken = [
        label
        for name, label in zip(OBSERVATIONS, labels, strict=True)
        if name not in ("No Finding", "Support Devices")
    ]
    if not np.isin(spoken, (POSITIVE, UNCERTAIN)).any():
        labels[OBSERVATIONS.index("No Finding")] = POSITIVE
    return labels


def _mention(habit: Habit, present: bool, plain: float, chance: NDArray[np.float64]) -> float:
    """One observation's label."""
    if present:
        if chance[0] >= habit.named:
            return float("nan")
        return UNCERTAIN if chance[1] < habit.hedged * 2.0 * (1.0 - plain) else POSITIVE
    if chance[0] < habit.suspected * 2.0 * plain:
        return UNCERTAIN
    return NEGATIVE if chance[2] < habit.denied else float("nan")
