"""kill -9 at every named point and at random moments: what was acknowledged is there, one job, one result.

The points are passed in chains, each with one study: the adapter dies at the first point, starts again, dies at the
second, and so on, and has to finish in the end.
"""

from __future__ import annotations

import hashlib
import io
import random
import threading
import time
from pathlib import Path

import pydicom
import pytest
from adapter.hospital import Pacs, Study, send, stage_project, wait_until
from adapter.process import AdapterProcess
from pydicom.dataset import Dataset

from clara_adapter.crash import POINTS

RECEIVING = ("part-written", "instance-placed", "folder-flushed", "row-committed")
CHAINS = {  # at most two deaths in one state of a job or delivery: at the third it is held
    "seal": ("before-seal", "links-made", "after-seal"),
    "submit": ("before-submit", "submitted", "after-submit"),
    "result": ("job-ended", "result-copied", "deliveries-written", "collected"),
    "send": ("before-send", "instance-answered", "after-sent"),
    "sent": ("between-instances", "all-answered"),
}
OPEN = 500.0  # seconds of quiet: no study is complete while its sender is away
RESULTS = 3  # instances of one result


def test_every_point_is_tested() -> None:
    assert sorted((*RECEIVING, *(point for chain in CHAINS.values() for point in chain))) == sorted(POINTS)


class Scene:
    """A project, a spool, a PACS, and an adapter process that dies and is started again."""

    def __init__(self, folder: Path, pacs: Pacs, *, quiet: float) -> None:
        self.spool, self.pacs = folder / "spool", pacs
        self.project = stage_project(folder / "project", args=str(RESULTS))
        self.adapter = AdapterProcess(self.project, self.spool, pacs.port, quiet=quiet)
        self.acknowledged: set[str] = set()

    def send(self, images: list[Dataset]) -> int:
        """Send what was not acknowledged; how many were answered."""
        left = [image for image in images if image.SOPInstanceUID not in self.acknowledged]
        answers = send(left, self.adapter.port)
        assert set(answers.values()) <= {0}
        self.acknowledged |= answers.keys()
        return len(answers)

    def check_kept(self, images: list[Dataset]) -> None:
        """Acknowledged is a subset of stored, whole. Looks at the files, while nothing runs."""
        stored = {path.name: path for path in (self.spool / "payloads").rglob("*.dcm")}
        for image in images:
            if image.SOPInstanceUID in self.acknowledged:
                path = stored[hashlib.sha256(image.SOPInstanceUID.encode()).hexdigest() + ".dcm"]
                assert pydicom.dcmread(path).PixelData == image.PixelData

    def kill_during(self, instances: int, pause: float) -> None:
        """kill -9 when so many more instances have come; while the sender goes on, at whatever moment that is."""
        folder = self.spool / "payloads"
        before = len(list(folder.rglob("*.dcm")))
        wait_until(lambda: len(list(folder.rglob("*.dcm"))) >= before + instances, "instances arrive")
        time.sleep(pause)
        self.adapter.kill()

    def settle(self) -> None:
        """Everything is here: start again with a quiet time that ends."""
        assert self.adapter.stop() == 0
        self.adapter.configure(quiet=0.2)
        self.adapter.start()

    def finish(self, slices: int) -> None:
        """The last start: one job of the whole study, its result counted once at the destination."""
        wait_until(lambda: [one.state for one in self.adapter.deliveries()] == ["sent"], "the delivery")
        assert self.adapter.stop() == 0
        assert [job.state for job in self.adapter.jobs()] == ["succeeded"]
        assert len(list((self.spool / "jobs").iterdir())) == 1
        assert len(self.pacs.kept) == RESULTS
        assert self._comments() == {f"{slices} slices"}

    def _comments(self) -> set[str]:
        return {pydicom.dcmread(io.BytesIO(data), force=True).ImageComments for data in self.pacs.kept.values()}


def test_killed_while_receiving(tmp_path: Path) -> None:
    images = Study().slices(12)
    with Pacs() as pacs:
        scene = Scene(tmp_path, pacs, quiet=OPEN)
        with scene.adapter:
            for point in RECEIVING:
                scene.adapter.start(f"{point}:3")
                assert scene.send(images) == 2  # the third was in flight
                scene.adapter.wait_killed()
                scene.check_kept(images)
            scene.adapter.start()
            assert scene.send(images) == len(images) - 2 * len(RECEIVING)
            scene.settle()
            scene.finish(len(images))
    assert set(pacs.times.values()) == {1}


@pytest.mark.parametrize(
    "chain",
    [pytest.param(c, id=name, marks=() if name == "send" else pytest.mark.long) for name, c in CHAINS.items()],
)
def test_killed_on_the_way(tmp_path: Path, chain: tuple[str, ...]) -> None:
    images = Study().slices(3)
    with Pacs() as pacs:
        scene = Scene(tmp_path, pacs, quiet=0.3)
        with scene.adapter:
            for number, point in enumerate(chain):
                scene.adapter.start(point)
                if number == 0:
                    assert scene.send(images) == len(images)
                scene.adapter.wait_killed()
                scene.check_kept(images)
            scene.adapter.start()
            scene.finish(len(images))
    again = sum(times - 1 for times in pacs.times.values())
    assert again <= chain.count("instance-answered")  # sent, but nobody knew: again under the same UID


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_random_while_instances_are_in_flight(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    images = Study().slices(150)
    with Pacs() as pacs:
        scene = Scene(tmp_path, pacs, quiet=OPEN)
        with scene.adapter:
            for _ in range(2):
                scene.adapter.start()
                killer = threading.Thread(target=scene.kill_during, args=(chance.randint(1, 50), chance.random() / 50))
                killer.start()
                answered = scene.send(images)
                killer.join()
                assert answered > 0 and len(scene.acknowledged) < len(images), "nothing was in flight"
                scene.check_kept(images)
            scene.adapter.start()
            scene.send(images)
            assert len(scene.acknowledged) == len(images)
            scene.settle()
            scene.finish(len(images))


def test_a_job_that_kills_us_three_times_is_held(tmp_path: Path) -> None:
    images = Study().slices(1)
    with Pacs() as pacs:
        scene = Scene(tmp_path, pacs, quiet=0.3)
        with scene.adapter:
            for number in range(3):
                scene.adapter.start("job-ended")
                if number == 0:
                    scene.send(images)
                scene.adapter.wait_killed()
            scene.adapter.start("job-ended")
            wait_until(lambda: scene.adapter.jobs()[0].state == "stopped", "the job is held")
            assert scene.adapter.stop() == 0
    (job,) = scene.adapter.jobs()
    assert job.message == "held: this process died 3 times while the job was in work"
    assert pacs.kept == {}


def test_an_unknown_crash_point_is_refused(tmp_path: Path) -> None:
    with Pacs() as pacs:
        scene = Scene(tmp_path, pacs, quiet=1)
        with scene.adapter:
            scene.adapter.start("no-such-point")
            assert scene.adapter.process is not None and scene.adapter.process.wait() == 64
    assert "not a crash point" in scene.adapter.log.read_text()
