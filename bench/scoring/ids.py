"""The ids of studies and images, whatever prefix a file writes them with.

One study is written ``CheXpert-v1.0/test/patient64741/study1``, ``CheXpert-v1.0-small/test/…``,
``test/…``, an absolute path, without any prefix or with a slash at the end; one image likewise,
with or without its extension. All of these become one key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATIENT = re.compile(r"patient[\w-]*", re.IGNORECASE)
_STUDY = re.compile(r"study[\w-]*", re.IGNORECASE)
_VIEW = re.compile(r"view\d", re.IGNORECASE)
_RELEASE = re.compile(r"chexpert.*|train|valid|val|test", re.IGNORECASE)
_EXTENSION = re.compile(r"\.(jpe?g|png|dcm|dicom|tiff?|bmp|npy)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Key:
    """What an id names, with prefix, case and extension taken off."""

    unit: str
    """The image's key, or the study's where the id names a study."""
    study: str
    """The study's key; the image's own where its path tells of no study."""
    patient: str
    """The patient's key; the study's own where the id tells of no patient."""
    is_image: bool


def parse_id(text: str) -> Key | None:
    """The key of an id as a file writes it, or None where it is blank."""
    parts = [p for p in text.strip().replace("\\", "/").lower().split("/") if p not in ("", ".")]
    if not parts:
        return None
    for i, part in enumerate(parts):
        if _PATIENT.fullmatch(part):
            parts = parts[i:]
            break
    else:
        while len(parts) > 1 and _RELEASE.fullmatch(parts[0]):
            parts = parts[1:]
    last = _EXTENSION.sub("", parts[-1])
    is_image = last != parts[-1] or _VIEW.match(last) is not None
    parts[-1] = last
    unit = "/".join(parts)
    folders = parts[:-1] if is_image else parts
    grouped = bool(folders) and (
        _PATIENT.fullmatch(folders[0]) is not None or _STUDY.fullmatch(folders[-1]) is not None
    )
    study = "/".join(folders) if grouped else unit
    patient = parts[0] if _PATIENT.fullmatch(parts[0]) else study
    return Key(unit, study, patient, is_image)


def view_of(key: Key) -> str:
    """``Frontal`` or ``Lateral`` where the image's name says so, else empty."""
    name = key.unit.rsplit("/", 1)[-1]
    if "frontal" in name:
        return "Frontal"
    return "Lateral" if "lateral" in name else ""
