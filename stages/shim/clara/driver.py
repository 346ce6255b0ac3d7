"""`Driver`: runs an operator's handlers in Clara's order and ends the process by the contract's exit codes.

A handler that returns False, or raises, fails the stage; None is success, for programs that report by exception. The
process fails then, also when the program catches what says so.
"""

import atexit
import logging
import os
import sys
import threading
import traceback
import uuid
from typing import Any, Callable, Dict, List, Optional

import clara_driver
from clara.payload import Error, of
from clara_driver.driver import EXIT_FINAL, from_environment

Handler = Callable[..., Optional[bool]]

DATA = "application_data"
ORDER = ("prepare_handler", "execute_handler", "cleanup_handler", "notification_handler")  # of handlers by position

_failed: List[int] = []  # exit codes of drivers of this process whose handlers failed


class Driver:
    """Handlers by keyword (`execute_handler=`, or `execute=`) or by position in the order of ORDER.

    None leaves a place empty; the first value that cannot be called is the application data; one handler alone is
    `execute`. Any of them may be missing.
    """

    def __init__(self, *positional: Any, **named: Any) -> None:
        given = _by_position(positional)
        for name, value in named.items():
            name = name if name in (*ORDER, DATA) else name + "_handler"
            if name not in (*ORDER, DATA):
                known = ", ".join((*ORDER, DATA))
                raise TypeError("Driver has no argument '{}'; it has {}".format(name[: -len("_handler")], known))
            if name in given:
                raise TypeError("Driver got '{}' twice".format(name))
            given[name] = value
        for name in ORDER:
            if given.get(name) is not None and not callable(given[name]):
                raise TypeError("Driver: '{}' must be a function".format(name))
        self.application_data = given.get(DATA)
        self._given = given
        self._code = None  # type: Optional[int]
        self._done = threading.Event()
        self._thread = 0  # that runs the handlers
        self._stage = None  # type: Optional[clara_driver.Stage]

    @property
    def job_id(self) -> uuid.UUID:
        return uuid.UUID(self._here.job)

    @property
    def job_name(self) -> str:
        """Jobs have no names of their own: it is the workflow's."""
        return self._here.workflow

    @property
    def stage_name(self) -> str:
        return self._here.name

    def start(self) -> None:
        """Run the handlers, here and now; what the program does after it finds them done.

        Ends the process (SystemExit) when one of them failed: an exception would be caught by a program that expects
        none of its handlers' here.
        """
        if self._code is not None:
            raise Error("this driver has been started before; make a new one for a second run")
        self._code, self._thread = EXIT_FINAL, threading.get_ident()
        try:
            self._run()
            self._code = 0
        except SystemExit as error:
            self._code = error.code if isinstance(error.code, int) else int(error.code is not None)
            raise
        except Exception:  # noqa: BLE001  of a handler, which is foreign code; the driver has written the reason down
            traceback.print_exc()
            raise SystemExit(self._code) from None
        finally:
            if self._code:
                _failed.append(self._code)
            self._done.set()

    def wait_for_completion(self) -> None:
        """Returns when all went well. Starts the handlers if nobody has; says again that they failed if they did."""
        if self._code is None:
            self.start()
        if not self._done.is_set() and self._thread == threading.get_ident():
            raise Error("a handler cannot wait for the driver that runs it")
        self._done.wait()
        if self._code:
            raise SystemExit(self._code)

    def _run(self) -> None:
        clara_driver.Driver(
            prepare=lambda inner: self._call("prepare"),
            execute=lambda inner, work: self._call("execute", of(inner.stage)),
            cleanup=lambda inner: self._call("cleanup"),
        ).run()

    def _call(self, name: str, *arguments: Any) -> Optional[bool]:
        handler = self._given.get(name + "_handler")  # type: Optional[Handler]
        if handler is None:
            return None
        result = handler(self, *arguments)
        return False if result is not None and not result else None  # 0 and numpy's False are no success either

    @property
    def _here(self) -> clara_driver.Stage:
        if self._stage is None:
            self._stage = from_environment(os.environ)
        return self._stage


@atexit.register
def _insist() -> None:
    """A program that catches everything, or starts a driver in a thread, would end with 0 after a failure.

    What it wrote until then would be taken for its result. What others registered after this module has been called.
    """
    if _failed:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        os._exit(_failed[0] & 0xFF or EXIT_FINAL)


def _flush(stream: Any) -> None:
    """What cannot be said any more does not change how it ends."""
    try:
        stream.flush()
    except (AttributeError, OSError, ValueError):
        return


def _by_position(values: Any) -> Dict[str, Any]:
    given = {}  # type: Dict[str, Any]
    if len(values) == 1 and callable(values[0]):
        return {"execute_handler": values[0]}
    places = iter(ORDER)
    for value in values:
        place = DATA if value is not None and not callable(value) else next(places, DATA)
        if place in given:
            raise TypeError(
                "Driver takes at most {} values: four handlers and the application data".format(len(ORDER) + 1)
            )
        given[place] = value
    return given
