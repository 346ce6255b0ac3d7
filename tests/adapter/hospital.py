"""A small hospital for the adapter's tests: studies, a sender, a PACS that can misbehave, a project with tiny stages.

Everything is real: associations on 127.0.0.1, files, processes. Images are 16 x 16 so that nothing takes long.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from clara_adapter import reactor
from clara_adapter.deliveries import Backoff
from clara_adapter.scu import Deadlines
from clara_adapter.service import Adapter, Options
from clara_adapter.states import DeliveryState
from clara_adapter.store import Delivery
from clara_argo import project
from clara_argo.graph import Graph
from clara_argo.model.route import Configuration, Destination, Route, Settle, Source
from clara_argo.runners.argo import ArgoRunner
from clara_argo.runners.local import LocalRunner

HOST, CALLED, CALLING = "127.0.0.1", "CT_AI", "CT1"
QUICK = Options(
    backoff=Backoff(first=0.2, most=0.5, circuit=0.2),
    deadlines=Deadlines(connect=5, associate=5, answer=5, stall=5, instance=20),
)

# -- studies ----------------------------------------------------------------------------------------------------


def new_uid() -> str:
    """Short enough to take a number behind it."""
    return f"2.25.{secrets.randbelow(10**20) + 10**20}"


@dataclass(frozen=True)
class Study:
    patient: str = "P1"
    study: str = field(default_factory=new_uid)
    series: str = field(default_factory=new_uid)
    frame: str = field(default_factory=new_uid)

    def slice(self, number: int, **changes: Any) -> Dataset:
        """One CT slice; `changes` are DICOM keywords."""
        image = Dataset()
        image.SpecificCharacterSet = "ISO_IR 100"
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = f"{self.series}.{number}"
        image.Modality = "CT"
        image.PatientID, image.PatientName = self.patient, "Test^Case"
        image.StudyInstanceUID, image.SeriesInstanceUID = self.study, self.series
        image.FrameOfReferenceUID = self.frame
        image.InstanceNumber = number
        image.Rows = image.Columns = 16
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 0, 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.PixelData = number.to_bytes(2, "little") * 256
        for keyword, value in changes.items():
            setattr(image, keyword, value)
        image.file_meta = FileMetaDataset()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        return image

    def slices(self, count: int, first: int = 1) -> list[Dataset]:
        return [self.slice(number) for number in range(first, first + count)]


def send(
    images: Iterable[Dataset], port: int, *, called: str = CALLED, calling: str = CALLING, seconds: float = 20
) -> dict[str, int]:
    """C-STORE over one association: status by SOP Instance UID; what was not answered is missing."""
    images = list(images)
    node = AE(calling)
    for sop_class in sorted({image.SOPClassUID for image in images}):
        node.add_requested_context(sop_class, ExplicitVRLittleEndian)
    node.acse_timeout = node.dimse_timeout = node.network_timeout = node.connection_timeout = seconds
    opened: list[socket.socket] = []

    def tune(event: evt.Event) -> None:
        opened.append(event.assoc.dul.socket.socket)
        opened[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    association = node.associate(HOST, port, ae_title=called, evt_handlers=[(evt.EVT_CONN_OPEN, tune)])
    if association.is_established:
        reactor.repair(association)  # else two of the library's threads read the answers, and one in thousands is lost
    answers: dict[str, int] = {}
    for image in images:
        if not association.is_established:
            break
        try:
            status = association.send_c_store(image)
        except RuntimeError:  # the association ended between two calls
            break
        if "Status" not in status:
            break
        answers[str(image.SOPInstanceUID)] = int(status.Status)
    if association.is_established:
        association.release()
    association.dul.join(timeout=seconds)
    for connection in opened:  # the library forgets to close a connection that the peer has reset
        connection.close()
    return answers


# -- the PACS ---------------------------------------------------------------------------------------------------


class Pacs:
    """A storage SCP. `answer(number, uid)` decides the status of the n-th request; None aborts the association."""

    def __init__(
        self, answer: Callable[[int, str], int | None] | None = None, *, port: int = 0, contexts: Sequence[str] = ()
    ) -> None:
        self._answer = answer or (lambda number, uid: 0x0000)
        self.kept: dict[str, bytes] = {}  # what it stored
        self.times: dict[str, int] = {}  # how often it was asked to
        self.associations = 0
        self._asked = 0
        self._lock = threading.Lock()
        node = AE("PACS")
        if contexts:
            for uid in contexts:
                node.add_supported_context(uid)
        else:
            node.supported_contexts = AllStoragePresentationContexts
            node.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_ESTABLISHED, self._count)]
        self._server = node.start_server((HOST, port), block=False, evt_handlers=handlers)
        self.port = int(self._server.socket.getsockname()[1])

    def _count(self, event: evt.Event) -> None:
        self.associations += 1

    def _store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        with self._lock:
            self._asked += 1
            number = self._asked
            self.times[uid] = self.times.get(uid, 0) + 1
        status = self._answer(number, uid)
        if status is None:
            event.assoc.abort()
            return 0xA700
        if status in (0x0000, 0xB000, 0xB006, 0xB007):
            self.kept[uid] = event.request.DataSet.getvalue()
        return status

    def stop(self) -> None:
        self._server.shutdown()

    def __enter__(self) -> Pacs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


# -- the project ------------------------------------------------------------------------------------------------

# Writes one new instance into the study of its input: same patient, study and space, new series, refers to the source.
DERIVE = """
import hashlib, os, sys
from pathlib import Path
import pydicom

files = sorted(Path(os.environ["CLARA_INPUT"]).iterdir())
images = sorted((pydicom.dcmread(path) for path in files), key=lambda image: image.InstanceNumber)
key = hashlib.sha256("".join(image.SOPInstanceUID for image in images).encode()).hexdigest()
image = images[0]
image.remove_private_tags()
image.SeriesInstanceUID = f"2.25.{int(key[:30], 16)}"
reference = pydicom.Dataset()
reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
image.SourceImageSequence = [reference]
for number in range(int((sys.argv[1:] or ["1"])[0])):
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SeriesInstanceUID}.{number + 1}"
    image.ImageComments = f"{len(images)} slices"
    exec(os.environ.get("CLARA_TEST_CHANGE", ""))
    image.save_as(Path(os.environ["CLARA_OUTPUT"]) / f"{number:04d}.dcm")
"""
WORKFLOW = """\
id: 7b413e24-d018-4689-8c41-73272f6649d4
name: {name}
stages: [{stage}]
waitLocks: [""]
ioFolders: [{stage}/input, {stage}/output]
args: ["{args}"]
"""


def stage_project(
    folder: Path, *, name: str = "derive", script: str = DERIVE, change: str = "", args: str = "", kind: str = "python3"
) -> Path:
    """A project with one workflow and one stage of the same name. `change` is Python that spoils the result `image`."""
    stage = folder / "stages" / name
    stage.mkdir(parents=True)
    (folder / "clara.yaml").touch()
    (folder / f"{name}.yaml").write_text(WORKFLOW.format(name=name, stage=name, args=args))
    suffix = "main.py" if kind == "python3" else "run.sh"
    (stage / suffix).write_text(script)
    text = f"stageName: {name}\ncommand: [{kind}, {suffix}]\ntimeout: 60\n"
    if change:
        text += f"env: {{CLARA_TEST_CHANGE: {change!r}}}\n"
    (stage / "stage.yaml").write_text(text)
    return folder


def graph(folder: Path, name: str = "derive") -> Graph:
    return project.workflow(folder, name)


def configuration(
    spool: Path, ports: dict[str, int], *, quiet: float = 0.4, workflows: Sequence[str] = ("derive",), **changes: Any
) -> Configuration:
    """One route from CT1 through `workflows` to the destinations whose names and ports are given."""
    known = Configuration(
        ae_title=CALLED,
        spool=str(spool),
        port=0,
        sources=(Source(name="CT1", ae_title=CALLING, host=HOST),),
        destinations=tuple(
            Destination(name=name, ae_title="PACS", host=HOST, port=port) for name, port in ports.items()
        ),
        routes=(
            Route(
                name="ct",
                called=CALLED,
                sources=("CT1",),
                workflows=tuple(workflows),
                destinations=tuple(ports),
                settle=Settle(quiet=quiet, max=60),
            ),
        ),
    )
    return replace(known, **changes)


@dataclass
class Clinic:
    """An adapter and its runner in this process."""

    adapter: Adapter
    runner: LocalRunner | ArgoRunner

    @property
    def port(self) -> int:
        return self.adapter.address[1]

    def __enter__(self) -> Clinic:
        self.adapter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.adapter.stop()
        self.runner.close()

    def states(self) -> list[str]:
        """Of all deliveries."""
        return [delivery.state for delivery in self.adapter.store.deliveries()]


def clinic(config: Configuration, folder: Path, options: Options = QUICK) -> Clinic:
    """The workflows of a project's folder, by the names the routes use."""
    names = {name for route in config.routes for name in route.workflows}
    runner = LocalRunner(Path(config.spool))
    return Clinic(Adapter(config, runner, {name: graph(folder, name) for name in names}, options=options), runner)


def wait_until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """The limit is for a test that will fail; nothing is measured."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds:g} s: {what}")
        time.sleep(0.02)


def ended(site: Clinic, *states: str) -> list[Delivery]:
    """Wait for these states of all deliveries."""
    wait_until(lambda: site.states() == list(states), f"deliveries {states}; at first they were {site.states()}")
    return site.adapter.store.deliveries()


def tried(site: Clinic) -> None:
    """Wait for the end of a first attempt that found nobody: what is changed now, only the next one meets."""
    over = DeliveryState.WAITING
    wait_until(lambda: any(one.attempts and one.state == over for one in site.adapter.store.deliveries()), "an attempt")


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder and the digest of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
