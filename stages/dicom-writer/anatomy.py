"""Body parts, as far as a series must say which side they are of (General Series, PS3.3 C.7.3.1)."""

from __future__ import annotations

from headers import line
from pydicom.dataset import Dataset

UNPAIRED = {
    "ABDOMEN", "ABDOMENPELVIS", "AORTA", "BACK", "BLADDER", "BRAIN", "CEREBELLUM", "CERVIX", "CHEST",
    "CHESTABDOMEN", "CHESTABDPELVIS", "CIRCLEOFWILLIS", "COCCYX", "COLON", "CORONARYARTERY", "CSPINE",
    "CTSPINE", "DUODENUM", "ESOPHAGUS", "FACE", "GALLBLADDER", "HEAD", "HEADNECK", "HEART", "ILEUM", "ILIUM",
    "JAW", "JEJUNUM", "LARYNX", "LIVER", "LSPINE", "LSSPINE", "MAXILLA", "MEDIASTINUM", "MOUTH", "NECK",
    "NECKCHEST", "NOSE", "PANCREAS", "PELVIS", "PENIS", "PHARYNX", "PROSTATE", "RECTUM", "SCALP", "SKULL",
    "SPINE", "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "THYMUS", "THYROID", "TLSPINE", "TONGUE", "TRACHEA",
    "TSPINE", "URETHRA", "UTERUS", "VAGINA", "VULVA", "WHOLEBODY",
}  # fmt: skip  # terms of PS3.16 Annex L for what there is only one of


def laterality(header: Dataset, part: str) -> Dataset:
    """Laterality of the source; empty where the body part may be one of two and nobody said which; else left out."""
    made = Dataset()
    if part.upper() not in UNPAIRED:
        given = line(header, "Laterality")
        made.Laterality = given if given in ("L", "R") else ""
    return made
