"""A stand-in for a PACS: a storage SCP process that keeps what it is sent, and an SCU process that sends a study.

Two kinds, chosen by what the machine has: dcmtk's `storescp` and `dcmsend`, or ours on stock pynetdicom
(`python -m clara_argo.demo.pacs`). Neither shares a folder or a line of code with the adapter.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from clara_argo.errors import ClaraError, NotInstalled

HOST = "127.0.0.1"
START_SECONDS, SEND_SECONDS = 20.0, 300.0


class PacsError(ClaraError):
    """The stand-in PACS did not do its part."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_for_port(process: subprocess.Popen[bytes], port: int, name: str, log: Path) -> None:
    """Return when somebody answers on `port`. Raises PacsError when the process ends before, or takes too long."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-2:]
            raise PacsError(f"{name} ended at once: {' | '.join(last)}")
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise PacsError(f"{name} did not answer on port {port} in {START_SECONDS:.0f} s; see {log}")


def kinds() -> tuple[str, ...]:
    """The kinds that this machine can run, best first."""
    dcmtk = all(shutil.which(program) for program in ("storescp", "dcmsend"))
    return ("dcmtk", "python") if dcmtk else ("python",)


class Pacs:
    """A process that listens as `ae_title` on `port` and stores into `folder`; `send` starts another one."""

    def __init__(self, folder: Path, *, ae_title: str = "PACS", kind: str = "auto") -> None:
        self.kind = kinds()[0] if kind == "auto" else kind
        if self.kind not in kinds():
            raise NotInstalled("dcmtk is not installed; on Debian: apt-get install dcmtk, or say --pacs python")
        self.folder, self.ae_title, self.port = folder, ae_title, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder.with_suffix(".log")

    def __enter__(self) -> Pacs:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the port answers. Raises PacsError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self._serve_command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment()
            )
        wait_for_port(self._process, self.port, "the stand-in PACS", self.log)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def send(self, study: Path, *, called: str, port: int) -> None:
        """C-STORE every file below `study` to `called` on this machine. Raises PacsError with the sender's words."""
        try:
            done = subprocess.run(
                self._send_command(study, called, port),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SEND_SECONDS,
                env=_environment(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PacsError(f"sending took longer than {SEND_SECONDS:.0f} s") from None
        if done.returncode:
            raise PacsError(f"sending failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def received(self) -> list[Path]:
        """The instances it was sent, by name."""
        return sorted(path for path in self.folder.iterdir() if path.is_file() and not path.name.endswith(".part"))

    def _serve_command(self) -> list[str]:
        if self.kind == "dcmtk":
            return ["storescp", "-aet", self.ae_title, "+xa", "-od", str(self.folder), str(self.port)]
        return [sys.executable, "-m", "clara_argo.demo.pacs", "serve", self.ae_title, str(self.port), str(self.folder)]

    def _send_command(self, study: Path, called: str, port: int) -> list[str]:
        if self.kind == "dcmtk":
            return ["dcmsend", "-aet", self.ae_title, "-aec", called, HOST, str(port), "+sd", "+r", str(study)]
        return [sys.executable, "-m", "clara_argo.demo.pacs", "send", self.ae_title, called, str(port), str(study)]


def _environment() -> dict[str, str]:
    """dcmtk leaves Nagle's algorithm on unless told otherwise: 40 ms an instance."""
    return {**os.environ, "TCP_NODELAY": "1"}


def serve(ae_title: str, port: int, folder: Path) -> None:
    """A plain storage SCP: every storage class, every uncompressed syntax, one file an instance."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    def store(event: evt.Event) -> int:
        target = folder / f"{len(list(folder.iterdir())):06d}.dcm"
        part = target.with_suffix(".part")
        part.write_bytes(event.encoded_dataset())
        part.rename(target)
        return 0x0000

    node = AE(ae_title)
    node.supported_contexts = AllStoragePresentationContexts
    node.start_server((HOST, port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])


def send(ae_title: str, called: str, port: int, study: Path) -> int:
    """Send all instances over one association; the number of those that were not stored."""
    import pydicom
    from pynetdicom import AE

    files = [path for path in sorted(study.rglob("*")) if path.is_file()]
    wanted = {
        (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
        for meta in (pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[]).file_meta for path in files)
    }
    node = AE(ae_title)
    for sop_class, syntax in sorted(wanted):
        node.add_requested_context(sop_class, syntax)
    association = node.associate(HOST, port, ae_title=called)
    if not association.is_established:
        print(f"{called} on port {port} refused the association", file=sys.stderr)
        return len(files)
    bad = 0
    for path in files:
        status = association.send_c_store(path)
        if "Status" not in status or status.Status not in (0x0000, 0xB000, 0xB006, 0xB007):
            bad += 1
    association.release()
    if bad:
        print(f"{bad} of {len(files)} instances were not stored", file=sys.stderr)
    return bad


def main(arguments: list[str]) -> int:
    if arguments[0] == "serve":
        serve(arguments[1], int(arguments[2]), Path(arguments[3]))
        return 0
    return 1 if send(arguments[1], arguments[2], int(arguments[3]), Path(arguments[4])) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
