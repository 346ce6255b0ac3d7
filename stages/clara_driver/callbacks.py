"""The callback form that Clara's users know: prepare, execute, cleanup.

    def execute(driver, work):
        segment(work.input_entries[0].path, work.output_entries[0].path)

    clara_driver.Driver(execute=execute).run()

A handler that returns False fails the stage; None counts as success (programs of old report by exception). `cleanup`
runs whenever `prepare` was called, also after a failure or SIGTERM. It knows nothing that `driver` does not.
"""

import sys
import traceback
import uuid
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional

from clara_driver.driver import FinalFailure, Stage, one_line, stage

Handler = Callable[["Driver"], Optional[bool]]


class Entry(NamedTuple):
    """One folder of the work: the producing stage's name ("" when there is one input), and where it is."""

    name: str
    path: Path


class Work(NamedTuple):
    """What Clara calls the payload of `execute`."""

    input_entries: List[Entry]
    output_entries: List[Entry]


class Driver:
    """Runs the handlers in order, once."""

    def __init__(
        self,
        prepare: Optional[Handler] = None,
        execute: Optional[Callable[["Driver", Work], Optional[bool]]] = None,
        cleanup: Optional[Handler] = None,
        application_data: Any = None,
    ) -> None:
        if execute is None:
            raise TypeError("Driver needs a function 'execute(driver, work)'")
        self.application_data = application_data
        self._prepare, self._execute, self._cleanup = prepare, execute, cleanup
        self._stage = None  # type: Optional[Stage]

    @property
    def stage(self) -> Stage:
        if self._stage is None:
            raise RuntimeError("the stage is known inside the handlers only")
        return self._stage

    @property
    def job_id(self) -> uuid.UUID:
        return uuid.UUID(self.stage.job)

    @property
    def stage_name(self) -> str:
        return self.stage.name

    def run(self) -> None:
        """Returns when all went well; otherwise ends the process as `clara_driver.stage` does."""
        with stage() as here:
            self._stage = here
            try:
                self._handlers(here)
            except BaseException:
                self._clean_after_failure()
                raise
            if self._cleanup is not None and self._cleanup(self) is False:
                raise FinalFailure("cleanup returned False")

    def _handlers(self, here: Stage) -> None:
        if self._prepare is not None and self._prepare(self) is False:
            raise FinalFailure("prepare returned False")
        work = Work([Entry(*pair) for pair in here.inputs.items()], [Entry("", here.output)])
        if self._execute(self, work) is False:
            raise FinalFailure("execute returned False")

    def _clean_after_failure(self) -> None:
        """The first failure is the one to report; what cleanup adds is printed only."""
        if self._cleanup is None:
            return
        try:
            if self._cleanup(self) is False:
                print("cleanup returned False", file=sys.stderr, flush=True)
        except Exception as error:  # noqa: BLE001  the handler is foreign code; the failure before it goes on
            print("cleanup failed: " + one_line(str(error)), file=sys.stderr, flush=True)
            traceback.print_exc()
