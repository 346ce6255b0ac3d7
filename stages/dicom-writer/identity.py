"""Who an object is about and who made it: patient, study, equipment, dates and UIDs.

Patient and study are copied from a source instance as they are there, text decoded and written as UTF-8. No clock is
read: dates are those of the source series, so the same input gives the same bytes. Knows no pixels.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import encode
from headers import UNREADABLE, Instance, line
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from sidecar import NOTICE, Algorithm, Code, Sidecar
from texts import allowed, valid

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "dicom-writer.clara-argo")
VERSION = "0.1"  # of what is written: another version, other UIDs
MAKER = "clara-argo"
MODEL = "dicom-writer"

# Patient (PS3.3 C.7.1.1), General Study (C.7.2.1), Patient Study (C.7.2.2), Clinical Trial (C.7.1.3, C.7.2.3).
REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip  # type 2: there, even if empty
COPIED = (
    *REQUIRED, "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID", "PatientBirthTime",
    "OtherPatientIDsSequence", "OtherPatientNames", "EthnicGroup", "PatientComments", "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence", "PatientBreedDescription", "PatientBreedCodeSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "QualityControlSubject", "StudyInstanceUID", "StudyDescription",
    "IssuerOfAccessionNumberSequence", "PhysiciansOfRecord", "ConsultingPhysicianName", "ProcedureCodeSequence",
    "PatientAge", "PatientSize", "PatientWeight", "PatientSexNeutered", "PregnancyStatus", "Occupation",
    "AdditionalPatientHistory", "MedicalAlerts", "Allergies", "AdmittingDiagnosesDescription",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription", "LongitudinalTemporalInformationModified", "BodyPartExamined",
    "TimezoneOffsetFromUTC",
)  # fmt: skip
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the objects of this run; with the input it decides every UID."""

    workflow_digest: str = ""
    stage: str = ""

    def uid(self, *parts: str) -> str:
        """The UID (PS3.5 B.2) that these texts have, with this workflow, stage and version of the writer."""
        name = "\n".join((VERSION, self.workflow_digest, self.stage, *parts))
        return f"2.25.{uuid.uuid5(NAMESPACE, name).int}"


def copied(header: Dataset, keywords: Iterable[str]) -> Dataset:
    """These attributes of a data set, without private ones inside; values that cannot be read are left out."""
    made = Dataset()
    for keyword in keywords:
        tag = Tag(keyword)
        try:
            if tag in header:
                made.add(_public(header[tag]))
        except UNREADABLE:
            continue  # a number that is none, in an attribute no identity depends on
    return made


def _public(element: DataElement) -> DataElement:
    if element.VR != "SQ":
        return DataElement(element.tag, element.VR, element.value)
    items = [copied(item, [one.keyword for one in item if not one.tag.is_private and one.keyword]) for item in element]
    for item in items:
        item.pop("SpecificCharacterSet", None)
    return DataElement(element.tag, "SQ", Sequence(items))


def about(header: Dataset) -> Dataset:
    """A new data set about the patient and study of a source instance, in UTF-8."""
    made = copied(header, COPIED)
    for keyword in REQUIRED:
        if keyword not in made:
            made.add(empty(keyword))
    made.SpecificCharacterSet = encode.UTF8
    return made


def doubtful(header: Dataset, keywords: Iterable[str] = COPIED) -> list[str]:
    """Those of these attributes whose value DICOM does not allow: it is copied as it is, or left out if unreadable."""
    return [keyword for keyword in keywords if Tag(keyword) in header and not _allowed(header, Tag(keyword))]


def _allowed(header: Dataset, tag: BaseTag) -> bool:
    try:
        element = header[tag]
        if element.VR == "SQ":
            return all(_allowed(item, inner) for item in element for inner in list(item.keys()) if not inner.is_private)
        several = element.VM > 1
        values = list(element.value) if several else [element.value]
    except UNREADABLE:
        return False
    if dictionary_has_tag(tag) and (element.VR not in dictionary_VR(tag) or several and dictionary_VM(tag) == "1"):
        return False
    return all(allowed(element.VR, str(value)) for value in values if value is not None)


def empty(keyword: str) -> DataElement:
    """An attribute without a value, as type 2 allows."""
    return DataElement(Tag(keyword), dictionary_VR(keyword), "")


def moment(instances: Iterable[Instance]) -> tuple[str, str]:
    """Date and time of the latest source instance: what is written has the age of the images, whenever it is made."""
    pairs = [("StudyDate", "StudyTime"), ("SeriesDate", "SeriesTime"), ("AcquisitionDate", "AcquisitionTime")]
    pairs.append(("ContentDate", "ContentTime"))
    times = [("19000101", "000000")]  # a source without any date
    for instance in instances:
        stamp = instance.line("AcquisitionDateTime")
        texts = [(instance.line(date), instance.line(time)) for date, time in pairs]
        times += [_moment(date, time) for date, time in (*texts, (stamp[:8], re.split("[+-]", stamp[8:])[0]))]
    return max(times)


def _moment(date: str, time: str) -> tuple[str, str]:
    date = date.replace(".", "")
    clock = re.fullmatch(r"(\d{2})(\d{0,4})(\.\d{1,6})?", time.replace(":", ""))
    if not re.fullmatch(r"(19|20)\d{6}", date) or not valid("DA", date):
        return "", ""
    text = clock[1] + clock[2].ljust(4, "0") + (clock[3] or "") if clock else ""
    return date, text if valid("TM", text) else "000000"


def series(made: Dataset, sidecar: Sidecar, number: int, what: str) -> None:
    """Series attributes (PS3.3 C.7.3.1) but the UID: our number, and a description that says what it is not for."""
    made.SeriesNumber = number
    made.SeriesDescription = described(sidecar.algorithm, what)


def described(algorithm: Algorithm, what: str) -> str:
    """Algorithm, kind, notice: at most 64 bytes, since some count these and not the 64 characters that LO may have."""
    end = f"{what}, research, {NOTICE[0].lower()}{NOTICE[1:]}"
    name = f"{algorithm.name} {algorithm.version}".strip().encode()[: 63 - len(end)].decode(errors="ignore")
    return f"{name} {end}".strip()


def equipment(made: Dataset, provenance: Provenance) -> None:
    """This writer as the maker (PS3.3 C.7.5.1, C.7.5.2). The serial number is the workflow's digest, shortened."""
    made.Manufacturer = MAKER
    made.ManufacturerModelName = MODEL
    made.DeviceSerialNumber = provenance.workflow_digest[:16] or "unknown"
    made.SoftwareVersions = VERSION


def code(concept: Code) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = concept.value, concept.scheme, concept.meaning
    return made


def number(header: Dataset, base: int) -> int:
    """A Series Number from `base` on that keeps that of the source recognisable."""
    given = line(header, "SeriesNumber")
    return base + (int(given) if re.fullmatch(r"\d{1,3}", given) else 0)
