"""Receiving 300 CT slices of 512 x 512: processor time of the server, ours against stock pynetdicom and storescp.

    python benchmarks/ingest.py [--rounds 5] [--slices 300] [--folder DIR]

Contenders, all in processes of their own, each fed by the same fast sender (one association, one write an image):
  ours               the whole receiving side: guard, fsync, rename, fsync of the folder, row committed, then the answer
  ours, files        the same without the database: guard, fsync, rename, as the peers store
  pynetdicom         as its documents show it: `event.dataset.save_as`, default settings; no fsync
  pynetdicom, tuned  `event.encoded_dataset()` to a file, PDU without limit, no logging; no fsync
  storescp           dcmtk's, when it is installed; no fsync
Rounds are interleaved in random order, the first is dropped. Server CPU is user and system time of the process tree,
from /proc. After each round the bytes behind the file meta are compared with those that were sent. Aim: ours needs at
most a fifth of the CPU of stock pynetdicom storing the same, which is 'ours, files': the peers keep no database.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import secrets
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

RESULTS = Path(__file__).resolve().parent / "results"
CALLED, CALLING, HOST = "BENCH", "SENDER", "127.0.0.1"
AIM = 5.0


# -- what is sent -----------------------------------------------------------------------------------------------


def slices(count: int) -> list[tuple[str, bytes]]:
    """SOP Instance UID and data set (explicit little endian) of each slice."""
    study, series, frame = (f"2.25.{secrets.randbelow(10**20)}" for _ in range(3))
    noise = np.random.default_rng(7).normal(0, 18, (512, 512)).astype("<i2")
    return [_slice(number, f"{series}.{number}", study, series, frame, noise) for number in range(1, count + 1)]


def _slice(number: int, uid: str, study: str, series: str, frame: str, noise: Any) -> tuple[str, bytes]:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 100"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, uid
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(image, name, "20240102")
    for name in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(image, name, "101112.5")
    image.AccessionNumber, image.Modality, image.Manufacturer = "A1", "CT", "Benchmark"
    image.InstitutionName, image.ReferringPhysicianName, image.StationName = "Example Hospital", "R^D", "CT1"
    image.StudyDescription, image.SeriesDescription, image.ManufacturerModelName = "Abdomen", "1.0 B30f", "Model"
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Doe^Jane", "P1", "19700101", "F"
    image.SliceThickness, image.KVP, image.PatientPosition, image.ConvolutionKernel = "1", "120", "HFS", "B30f"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 2, number
    image.ImagePositionPatient, image.ImageOrientationPatient = [-190, -170, number], [1, 0, 0, 0, 1, 0]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns, image.PixelSpacing = 512, 512, ["0.74", "0.74"]
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.RescaleIntercept, image.RescaleSlope = "0", "1"
    image.PixelData = np.roll(noise, number, axis=0).tobytes()
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    write_dataset(out, image)
    return uid, out.getvalue()


# -- the sender -------------------------------------------------------------------------------------------------


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _request() -> bytes:
    context = struct.pack(">BBBB", 1, 0, 0, 0)
    context += _item(0x30, CTImageStorage.encode()) + _item(0x40, ExplicitVRLittleEndian.encode())
    user = _item(0x50, _item(0x51, bytes(4)) + _item(0x52, b"1.2.3.4"))
    titles = CALLED.ljust(16).encode() + CALLING.ljust(16).encode()
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + _item(0x10, b"1.2.840.10008.3.1.1.1")
    body += _item(0x20, context) + user
    return struct.pack(">BBL", 1, 0, len(body)) + body


def _max_length(reply: bytes) -> int:
    at = reply.find(b"\x51\0\0\x04")
    return int.from_bytes(reply[at + 4 : at + 8], "big") or 1 << 20


def _store_command(uid: str, message: int) -> bytes:
    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHL", 0, number, len(value)) + value

    body = element(0x0002, CTImageStorage.encode()) + element(0x0100, b"\1\0")
    body += element(0x0110, struct.pack("<H", message)) + element(0x0700, b"\2\0") + element(0x0800, b"\1\0")
    body += element(0x1000, uid.encode())
    return element(0, struct.pack("<L", len(body))) + body


def _pdus(command: bytes, data: bytes, size: int) -> list[bytes]:
    out = [struct.pack(">BBLLBB", 4, 0, len(command) + 6, len(command) + 2, 1, 3), command]
    for at in range(0, len(data), size - 6):
        part = data[at : at + size - 6]
        last = at + size - 6 >= len(data)
        out += [struct.pack(">BBLLBB", 4, 0, len(part) + 6, len(part) + 2, 1, 2 if last else 0), part]
    return out


def _exactly(connection: socket.socket, size: int) -> bytes:
    out = b""
    while len(out) < size:
        part = connection.recv(size - len(out))
        if not part:
            raise RuntimeError("the receiver closed the connection")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        out += part
    return out


def _pdu(connection: socket.socket) -> bytes:
    head = _exactly(connection, 6)
    return head + _exactly(connection, int.from_bytes(head[2:6], "big"))


def send(port: int, instances: list[tuple[str, bytes]]) -> float:
    """All instances on one association; each must be answered 0x0000. Returns seconds."""
    began = time.perf_counter()
    with socket.create_connection((HOST, port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(_request())
        reply = _pdu(connection)
        if reply[0] != 2:
            raise RuntimeError(f"the association was not accepted: {reply[:12].hex()}")
        size = min(_max_length(reply), 1 << 18)
        for message, (uid, data) in enumerate(instances, 1):
            rest = _pdus(_store_command(uid, message & 0xFFFF), data, size)
            connection.sendall(b"".join(rest))
            answer = _pdu(connection)
            at = answer.find(struct.pack("<HHL", 0, 0x0900, 2))
            if at < 0 or answer[at + 8 : at + 10] != b"\0\0":
                raise RuntimeError(f"instance {message} was not stored: {answer.hex()}")
        connection.sendall(struct.pack(">BBLL", 5, 0, 4, 0))
        _pdu(connection)
    return time.perf_counter() - began


# -- the receivers ----------------------------------------------------------------------------------------------


@contextmanager
def _ours(folder: Path) -> Iterator[int]:
    from clara_adapter.inbox import Inbox
    from clara_adapter.routing import Routing
    from clara_adapter.scp import Scp
    from clara_adapter.spool import Spool
    from clara_adapter.store import Store
    from clara_argo.model.route import Configuration, Route, Source

    configuration = Configuration(
        ae_title=CALLED,
        spool=str(folder),
        sources=(Source(name="s", ae_title=CALLING, host=HOST),),
        routes=(Route(name="r", called=CALLED, sources=("s",), workflows=(), destinations=()),),
    )
    spool = Spool(folder)
    spool.make()
    store, routing = Store(spool.state), Routing(configuration)
    inbox = Inbox(configuration, routing, spool, store)
    with Scp(host=HOST, port=0, incoming=spool.incoming, admit=routing.admit, store=inbox.store) as scp:
        yield scp.address[1]
    store.close()


@contextmanager
def _files(folder: Path) -> Iterator[int]:
    from clara_adapter.scp import Received, Scp

    def store(received: Received) -> int:
        received.path.rename(folder / received.sop_instance)
        return 0

    with Scp(host=HOST, port=0, incoming=folder / "incoming", admit=lambda peer: None, store=store) as scp:
        yield scp.address[1]


@contextmanager
def _pynetdicom(folder: Path, tuned: bool) -> Iterator[int]:
    from pynetdicom import AE, AllStoragePresentationContexts, _config, evt

    if tuned:
        _config.LOG_HANDLER_LEVEL = "none"

    def whole(event: Any) -> int:
        image = event.dataset
        image.file_meta = event.file_meta
        image.save_as(folder / f"{event.request.AffectedSOPInstanceUID}.dcm", enforce_file_format=True)
        return 0

    def encoded(event: Any) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0

    node = AE(ae_title=CALLED)
    if tuned:
        node.maximum_pdu_size = 0
    node.supported_contexts = AllStoragePresentationContexts
    server = node.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, encoded if tuned else whole)])
    yield server.socket.getsockname()[1]
    server.shutdown()


SERVERS: dict[str, Callable[[Path], Any]] = {
    "ours": _ours,
    "ours, files": _files,
    "pynetdicom": lambda folder: _pynetdicom(folder, tuned=False),
    "pynetdicom, tuned": lambda folder: _pynetdicom(folder, tuned=True),
}


def serve(name: str, folder: Path) -> None:
    with SERVERS[name](folder) as port:
        print(port, flush=True)
        sys.stdin.read()


# -- measuring --------------------------------------------------------------------------------------------------


@dataclass
class Server:
    name: str
    folder: Path
    process: subprocess.Popen[str]
    port: int


@contextmanager
def running(name: str, folder: Path) -> Iterator[Server]:
    folder.mkdir()
    port = 0
    command = [sys.executable, __file__, "--serve", name, str(folder)]
    if name == "storescp":
        with socket.create_server((HOST, 0)) as free:
            port = free.getsockname()[1]
        command = ["storescp", "-aet", CALLED, "-pdu", "131072", "-od", str(folder), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdin
            port = port or int(process.stdout.readline())
            _wait(port)
            yield Server(name, folder, process, port)
        finally:
            process.stdin.close() if process.stdin else None
            process.kill()


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


def cpu(pid: int) -> float:
    """User and system seconds of a process and its children."""
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            todo += map(int, children.read_text().split())
    return total


def data_set(path: Path) -> bytes:
    """What lies behind the file meta; the whole file when it has none."""
    raw = path.read_bytes()
    if raw[128:132] != b"DICM":
        return raw
    return raw[144 + int.from_bytes(raw[140:144], "little") :]


def verify(folder: Path, sent: list[tuple[str, bytes]]) -> None:
    wanted = sorted(hashlib.sha256(data).hexdigest() for _, data in sent)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("state.db")]
    found = sorted(hashlib.sha256(data_set(path)).hexdigest() for path in files)
    if found != wanted:
        raise RuntimeError(f"{folder.name}: {len(found)} files, not the {len(wanted)} data sets that were sent")


def one(name: str, folder: Path, sent: list[tuple[str, bytes]]) -> dict[str, float]:
    """One receiver takes all instances; what it stored is verified.

    What the one before left in the page cache is on disk by then: an fsync would write it, too, on our account. Its
    files are emptied, so that everybody gets memory that was in use before, but stay: ext4 looks for minutes at each
    inode that was freed, on the account of whoever makes the next file.
    """
    os.sync()
    with running(name, folder) as server:
        before = cpu(server.process.pid)
        seconds = send(server.port, sent)
        time.sleep(0.2)
        used = cpu(server.process.pid) - before
    verify(folder, sent)
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)
    return {"cpu": used, "seconds": seconds}


def measure(rounds: int, count: int, root: Path) -> dict[str, list[dict[str, float]]]:
    names = [*SERVERS] + (["storescp"] if shutil.which("storescp") else [])
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=root) as folder:
        for number in range(rounds + 1):
            sent = slices(count)
            for name in random.sample(names, len(names)):
                run = one(name, Path(folder) / f"{number}-{name.replace(', ', '-')}", sent)
                if number:
                    runs[name].append(run)
                line = f"round {number} {name:18} cpu {run['cpu']:5.2f} s  wall {run['seconds']:5.2f} s"
                print(line, file=sys.stderr, flush=True)
    return runs


def report(runs: dict[str, list[dict[str, float]]], count: int) -> dict[str, Any]:
    ours = statistics.median(run["cpu"] for run in runs["ours"])
    rows: dict[str, Any] = {}
    print(f"{'receiver':18} {'CPU s':>7} {'min':>6} {'wall s':>7} {'images/s':>9}  CPU / ours")
    for name, made in runs.items():
        used = statistics.median(run["cpu"] for run in made)
        wall = statistics.median(run["seconds"] for run in made)
        rows[name] = {"cpu": used, "wall": wall, "ratio": used / ours, "runs": made}
        least = min(run["cpu"] for run in made)
        print(f"{name:18} {used:7.2f} {least:6.2f} {wall:7.2f} {count / wall:9.0f}  {used / ours:6.1f}")
    stock = rows["pynetdicom"]["cpu"]
    for name in ("ours, files", "ours"):
        ratio = stock / rows[name]["cpu"]
        verdict = "reached" if ratio >= AIM else "not reached"
        print(f"stock pynetdicom needs {ratio:.1f} times the CPU of {name!r} (aim {AIM:g}: {verdict})")
    return {"slices": count, "python": platform.python_version(), "machine": platform.platform(), "receivers": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where to store; a disk, not a memory file system")
    parser.add_argument("--serve", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve[0], Path(arguments.serve[1]))
        return
    result = report(measure(arguments.rounds, arguments.slices, arguments.folder), arguments.slices)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ingest.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
