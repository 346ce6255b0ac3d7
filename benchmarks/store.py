"""A folder put into an S3 store, against the same bytes as one object sent by the plain minio client.

    python benchmarks/store.py [--rounds N] [--large MEGABYTES]

The server is SeaweedFS on this machine. The folder is a CT of 300 files, 158 MB; the peer has the packed bytes in
memory and sends them with `Minio.put_object` as it comes, ours reads, digests and packs besides. Both are measured in
turn, each after the other's object was deleted. Aim: a ratio of at most 1.5. Then an edge of 100 MB in 200 files, put
and got (pack, upload, download, unpack): aim 3 s. And memory: the most that this process ever has while it puts and
gets a folder of 2 GB.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from weed import Weed  # noqa: E402

from clara_argo.artifacts import pack, tree  # noqa: E402
from clara_argo.artifacts.s3 import S3Store  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
MEGABYTE = 1_000_000
AIM, AIM_EDGE = 1.5, 3.0  # a ratio; seconds


def folder(root: Path, files: int, megabytes: int) -> Path:
    """Files that do not compress, all different."""
    root.mkdir()
    for number in range(files):
        with open(root / f"{number:04}.dcm", "wb") as file:
            for left in range(megabytes * MEGABYTE // files, 0, -MEGABYTE):
                file.write(os.urandom(min(left, MEGABYTE)))
    return root


def timed(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def upload(weed: Weed, store: S3Store, root: Path, rounds: int) -> dict[str, object]:
    source = folder(root / "ct", 300, 158)
    data = b"".join(pack.pack(source))
    plain = weed.client()

    def ours() -> float:
        store.delete_below("jobs")
        return timed(lambda: store.put_folder("jobs/ours/output", source))

    def peer() -> float:
        store.delete_below("jobs")
        return timed(lambda: plain.put_object(weed.bucket, "jobs/peer/output.tgz", io.BytesIO(data), len(data)))

    pairs = []
    for number in range(rounds + 1):  # the first warms up
        order = (ours, peer) if number % 2 else (peer, ours)
        times = {one.__name__: one() for one in order}
        pairs.append((times["ours"], times["peer"]))
    mine, other = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    print(f"158 MB in 300 files: put_folder {mine:.2f} s, one object {other:.2f} s: {mine / other:.2f} (aim {AIM})")
    shutil.rmtree(source)
    return {"put_s": round(mine, 3), "object_s": round(other, 3), "ratio": round(mine / other, 3), "aim_ratio": AIM}


def edge(store: S3Store, root: Path, rounds: int) -> dict[str, object]:
    source = folder(root / "edge", 200, 100)
    puts, gets = [], []
    for number in range(rounds + 1):
        store.delete_below("jobs")
        put = timed(lambda: store.put_folder("jobs/edge/output", source))
        got = root / f"got{number}"
        get = timed(lambda got=got: store.get_folder("jobs/edge/output", got))  # type: ignore[misc]
        if tree.digest(got) != tree.digest(source):
            sys.exit("what came back is not what was sent")
        shutil.rmtree(got)
        puts.append(put)
        gets.append(get)
    put, get = statistics.median(puts[1:]), statistics.median(gets[1:])
    both = statistics.median(p + g for p, g in zip(puts[1:], gets[1:], strict=True))
    print(f"100 MB edge: put {put:.2f} s, get {get:.2f} s, both {both:.2f} s (aim {AIM_EDGE} s)")
    shutil.rmtree(source)
    return {"edge_put_s": round(put, 3), "edge_get_s": round(get, 3), "edge_s": round(both, 3), "aim_edge_s": AIM_EDGE}


def memory(store: S3Store, root: Path, megabytes: int) -> dict[str, object]:
    source = folder(root / "large", 8, megabytes)
    before = peak()
    put = timed(lambda: store.put_folder("jobs/large/output", source))
    after_put = peak()
    shutil.rmtree(source)
    get = timed(lambda: store.get_folder("jobs/large/output", root / "back"))
    print(
        f"{megabytes} MB: put {put:.1f} s, get {get:.1f} s; memory {before:.0f} MB before, "
        f"{after_put:.0f} MB at most while put, {peak():.0f} MB at most in all"
    )
    return {"large_mb": megabytes, "before_mb": round(before), "put_mb": round(after_put), "most_mb": round(peak())}


def peak() -> float:
    """Megabytes, the most this process ever had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MEGABYTE if sys.platform == "darwin" else most * 1024 / MEGABYTE


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--large", type=int, default=2000, help="megabytes of the folder that memory is measured with")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="clara-bench-") as name, Weed.start() as weed:
        root = Path(name)
        store = S3Store(weed.endpoint, weed.bucket, weed.access_key, weed.secret_key)
        result = edge(store, root, given.rounds)
        result |= memory(store, root, given.large)  # before the peer, which holds all its bytes
        result |= upload(weed, store, root, given.rounds)
    result = {"benchmark": "store", "rounds": given.rounds, **result}
    result |= {"python": platform.python_version(), "processors": os.cpu_count()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "store.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
