"""Hostile, swapped and broken results: every one is held by name, and the right ones pass."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapter.hospital import CALLED, Study
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from clara_adapter import checks, references
from clara_adapter.checks import Budget, MustNotLeave
from clara_adapter.contents import data_set_digest
from clara_adapter.store import Instance, Payload, Result
from clara_adapter.tags import Unreadable

STUDY = Study(patient="P1")
PAYLOAD = Payload(1, "p", "ct", CALLED, STUDY.study, "P1", "HOSPITAL", "sealed", 0.0)


def source(folder: Path) -> list[Instance]:
    """Rows of three received slices."""
    rows = []
    for image in STUDY.slices(3):
        uid, path = str(image.SOPInstanceUID), save(image, folder / "source.dcm")
        digest = data_set_digest(path)
        path.unlink()
        rows.append(Instance("p", uid, str(image.SOPClassUID), STUDY.series, STUDY.frame, digest, 1))
    return rows


def judge(folder: Path, rows: list[Instance], budget: Budget | None = None) -> list[Result]:
    return checks.check(folder, PAYLOAD, rows, budget)


def derived(number: int = 1, **changes: Any) -> Dataset:
    """A result as it should be: new series, same patient, study and space, refers to the first slice."""
    series = f"{STUDY.series}.9"
    image = STUDY.slice(1, SeriesInstanceUID=series, SOPInstanceUID=f"{series}.{number}", **changes)
    if "SourceImageSequence" not in changes:
        image.SourceImageSequence = Sequence([reference(f"{STUDY.series}.1")])
    return image


def reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
    return item


def save(image: Dataset, path: Path) -> Path:
    image.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> list[Instance]:
    return source(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    result = tmp_path / "result"
    result.mkdir()
    return result


def test_a_right_result_passes_in_the_order_of_its_names(folder: Path, rows: list[Instance]) -> None:
    (folder / "series").mkdir()
    for number in (2, 1):
        save(derived(number), folder / "series" / f"{number}.dcm")
    files = judge(folder, rows)
    assert [file.file for file in files] == ["series/1.dcm", "series/2.dcm"]
    assert [file.sop_instance for file in files] == [f"{STUDY.series}.9.1", f"{STUDY.series}.9.2"]
    assert all(file.ours == 1 for file in files)


def test_an_unchanged_instance_of_the_payload_may_go_and_is_not_ours(folder: Path, rows: list[Instance]) -> None:
    save(STUDY.slice(2), folder / "2.dcm")
    (file,) = judge(folder, rows)
    assert file.ours == 0


def test_results_may_refer_to_each_other(folder: Path, rows: list[Instance]) -> None:
    save(derived(1), folder / "1.dcm")
    save(derived(2, SourceImageSequence=Sequence([reference(f"{STUDY.series}.9.1")])), folder / "2.dcm")
    assert len(judge(folder, rows)) == 2


def test_a_reference_that_is_no_source_may_be_elsewhere(folder: Path, rows: list[Instance]) -> None:
    """A localizer, a procedure step, another study: named, but not what the result was made from."""
    image = derived()
    image.ReferencedImageSequence = Sequence([reference("1.2.3.4")])
    image.ReferencedStudySequence = Sequence([reference("1.2.3.5")])
    save(image, folder / "1.dcm")
    assert len(judge(folder, rows)) == 1


def evidence(uid: str) -> Sequence:
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = "1.2.3", Sequence([reference(uid)])
    study.StudyInstanceUID, study.ReferencedSeriesSequence = STUDY.study, Sequence([series])
    return Sequence([study])


def per_frame(uid: str) -> Sequence:
    derivation, frame = Dataset(), Dataset()
    derivation.SourceImageSequence = Sequence([reference(uid)])
    frame.DerivationImageSequence = Sequence([derivation])
    return Sequence([frame, frame])


IDENTITY = [
    ({"PatientID": "P2"}, "of another patient"),
    ({"PatientID": ""}, "of another patient"),
    ({"IssuerOfPatientID": "ELSEWHERE"}, "of another patient"),
    ({"StudyInstanceUID": "1.2.3"}, "of another study"),
    ({"StudyInstanceUID": ""}, "of another study"),
    ({"FrameOfReferenceUID": "1.2.3"}, "frame of reference is none of the study's"),
    ({"SourceImageSequence": Sequence([reference("1.2.3.4")])}, "refers to 1 instances that are not of this study"),
    ({"CurrentRequestedProcedureEvidenceSequence": evidence("1.2.3.4")}, "refers to 1 instances"),
    ({"PerFrameFunctionalGroupsSequence": per_frame("1.2.3.4")}, "refers to 1 instances"),
    ({"SeriesInstanceUID": ""}, "series UID is missing"),
    ({"SeriesInstanceUID": STUDY.series}, "a new instance in a series of the study"),
    ({"SOPInstanceUID": f"{STUDY.series}.1"}, "has the UID of a received instance, but other content"),
]


@pytest.mark.parametrize("changes, why", IDENTITY, ids=[f"{next(iter(row[0]))}-{n}" for n, row in enumerate(IDENTITY)])
def test_a_result_of_somebody_else_is_held(
    folder: Path, rows: list[Instance], changes: dict[str, Any], why: str
) -> None:
    save(derived(1), folder / "1.dcm")
    image = derived(2)
    for keyword, value in changes.items():
        setattr(image, keyword, value)
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    save(image, folder / "2.dcm")
    with pytest.raises(MustNotLeave, match=f"'2.dcm': .*{why}"):
        judge(folder, rows)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("foreign", [False, True])
def test_references_are_found_in_every_encoding(folder: Path, rows: list[Instance], syntax: str, foreign: bool) -> None:
    image = derived(PerFrameFunctionalGroupsSequence=per_frame("1.2.3.4" if foreign else f"{STUDY.series}.2"))
    image.file_meta.TransferSyntaxUID = syntax
    image.PixelData = bytes(512)
    save(image, folder / "1.dcm")
    if foreign:
        with pytest.raises(MustNotLeave, match="refers to 1"):
            judge(folder, rows)
    else:
        assert len(judge(folder, rows)) == 1


# -- hostile outputs --------------------------------------------------------------------------------------------


def a_name_that_is_no_text(folder: Path) -> None:
    save(derived(), folder / "1.dcm").rename(folder / os.fsdecode(b"\xff bad"))


def a_link(folder: Path) -> None:
    target = save(derived(), folder.parent / "outside.dcm")
    (folder / "bad").symlink_to(target)


def a_link_to_a_folder(folder: Path) -> None:
    (folder / "bad").symlink_to(folder.parent, target_is_directory=True)


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "bad")


def a_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(folder)
        try:
            one.bind("bad")
        finally:
            os.chdir(here)


def ten_gigabytes_of_nothing(folder: Path) -> None:
    with (folder / "bad").open("wb") as file:
        file.truncate(10 << 30)


def no_dicom(folder: Path) -> None:
    (folder / "bad").write_text("<html>")


def an_empty_file(folder: Path) -> None:
    (folder / "bad").touch()


def half_a_file(folder: Path) -> None:
    data = save(derived(), folder / "bad").read_bytes()
    (folder / "bad").write_bytes(data[:400])


def two_identities(folder: Path) -> None:
    image = derived()
    save(image, folder / "bad")
    data = (folder / "bad").read_bytes()
    uid = str(image.SOPInstanceUID).encode()
    (folder / "bad").write_bytes(data.replace(uid, uid[:-1] + b"7", 1))  # only the file meta's


def deflated(folder: Path) -> None:
    image = derived()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(image, folder / "bad")


def a_deep_tree(folder: Path) -> None:
    deep = folder.joinpath(*["bad"] * 30)
    deep.mkdir(parents=True)
    save(derived(), deep / "1.dcm")


def a_deep_sequence(folder: Path) -> None:
    image = derived()
    for _ in range(100):
        outer = Dataset()
        outer.add_new(0x00081115, "SQ", Sequence([image[0x00081115].value[0]] if 0x00081115 in image else []))
        image.add_new(0x00081115, "SQ", Sequence([outer]))
    save(image, folder / "bad")


def twice_the_same_uid(folder: Path) -> None:
    save(derived(), folder / "a")
    save(derived(ImageComments="another"), folder / "bad")


HOSTILE: list[tuple[Callable[[Path], None], str]] = [
    (a_name_that_is_no_text, "its name is not UTF-8"),
    (a_link, "is a link"),
    (a_link_to_a_folder, "is a link"),
    (a_pipe, "is a link, a device"),
    (a_socket, "is a link, a device"),
    (ten_gigabytes_of_nothing, "larger than"),
    (no_dicom, "not a DICOM file"),
    (an_empty_file, "not a DICOM file"),
    (half_a_file, "cut short"),
    (two_identities, "name different UIDs"),
    (deflated, "deflated"),
    (a_deep_tree, "nested too deep"),
    (a_deep_sequence, "nested deeper"),
    (twice_the_same_uid, "stands in another file"),
]


@pytest.mark.parametrize("make, why", HOSTILE, ids=[make.__name__ for make, _ in HOSTILE])
def test_hostile_results_are_held(folder: Path, rows: list[Instance], make: Callable[[Path], None], why: str) -> None:
    make(folder)
    with pytest.raises(MustNotLeave, match=why) as held:
        judge(folder, rows)
    assert "bad" in str(held.value)


def test_an_empty_result_is_held(folder: Path, rows: list[Instance]) -> None:
    with pytest.raises(MustNotLeave, match="holds no file"):
        judge(folder, rows)


def test_too_many_files_are_held(folder: Path, rows: list[Instance]) -> None:
    for number in range(4):
        (folder / str(number)).touch()
    with pytest.raises(MustNotLeave, match="more than 3 files"):
        judge(folder, rows, Budget(files=3))


def test_a_name_cannot_forge_a_line(folder: Path, rows: list[Instance]) -> None:
    (folder / "x\n2026 all is well\x1b[2J").touch()
    with pytest.raises(MustNotLeave) as held:
        judge(folder, rows)
    assert "\n" not in str(held.value) and "\x1b" not in str(held.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_a_file_it_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    """Bytes changed anywhere: references are found, or the file is Unreadable. Nothing else, and it ends."""
    whole = bytearray(save(derived(PerFrameFunctionalGroupsSequence=per_frame("1.2")), folder / "x").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(128, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (folder / "x").write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with contextlib.suppress(Unreadable):
        references.source_instances(folder / "x")
