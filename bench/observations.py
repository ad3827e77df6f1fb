"""The names CheXpert gives its observations, in the column order of its ``train.csv``."""

from __future__ import annotations

OBSERVATIONS: tuple[str, ...] = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The 14 observations (Irvin et al. 2019, Table 1), in the order of ``train.csv``."""

COMPETITION: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Pleural Effusion",
)
"""The five competition tasks whose unweighted mean AUROC is the headline figure."""

POSITIVE, NEGATIVE, UNCERTAIN = 1.0, 0.0, -1.0
"""How a label file writes a mention; a blank cell (not mentioned) is NaN in memory."""
