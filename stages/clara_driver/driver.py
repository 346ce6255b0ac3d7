"""A stage's side of the contract: reads the variables, writes the lock, turns failures into exit codes.

Inside Clara (CLARA_CONTRACT is set) the folders are where the variables say. Alone, the same program uses ./input and
./output, and ./study, ./models when they are there. It knows no image, no network and no engine.
"""

import os
import re
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Union

from clara_driver import contract
from clara_driver.volume import VolumeError

ALONE_JOB = "0" * 32
MAX_MESSAGE = 500  # characters
EXIT_FINAL = 1
EXIT_TERMINATED = 128 + signal.SIGTERM


class TemporaryFailure(Exception):
    """Nothing is wrong with the input; the same may work later. Exit code 75, tried again."""


class FinalFailure(Exception):
    """Trying again would not help. Exit code 1. The text is what people read: what is wrong, and what to do next."""


class _Terminated(SystemExit):
    """SIGTERM: unwinds the stack, so that `finally` blocks and cleanup handlers run."""


class Stage(NamedTuple):
    """Everything a stage is given. Folders that were not given are None."""

    input: Path
    output: Path
    name: str = "stage"
    inputs: Mapping[str, Path] = {}  # producing stage -> folder; {"": input} when there is one input
    study: Optional[Path] = None
    publish: Optional[Path] = None
    logs: Optional[Path] = None
    locks: Optional[Path] = None
    models: Optional[Path] = None
    triton_url: str = ""  # gRPC host:port
    job: str = ALONE_JOB
    workflow: str = ""
    workflow_digest: str = ""
    attempt: int = 1
    timeout: Optional[int] = None  # seconds
    created: str = ""  # of the job, UTC, ISO 8601; the only clock to write into an output
    progress_file: Optional[Path] = None

    def progress(self, done: int, total: int) -> None:
        """Say how far the work is. Never fails: a disk that is full is found by whoever writes the output."""
        if self.progress_file is None:
            return
        try:
            self.progress_file.write_text("{}/{}\n".format(max(0, min(done, total)), total), encoding="ascii")
        except OSError:
            return

    def log(self, text: str) -> None:
        """One line for people: to stderr, and with the time to `<stage>.log` in the logs folder."""
        text = one_line(text, 10 * MAX_MESSAGE)
        print("{}: {}".format(self.name, text), file=sys.stderr, flush=True)
        if self.logs is not None:
            _append(self.logs / (self.name + ".log"), "{} {}\n".format(_now(), text))

    def publish_study(
        self,
        name: str,
        volume: Union[str, Path],
        mask: Union[str, Path, None] = None,
        settings: Optional[Mapping[str, Any]] = None,
    ) -> Path:
        """Offer a volume (.mhd, .nii, .nii.gz), and a mask on the same grid, to the render server.

        `settings` is the content of config_render.json; a plain preset when left out. Returns the publish folder.
        """
        from clara_driver import publish

        if self.publish is None:
            raise FinalFailure("{}: publishes a study, but its stage.yaml lacks 'publish: true'".format(self.name))
        return publish.write(self.publish, name, Path(volume), Path(mask) if mask else None, settings)


def from_environment(environ: Mapping[str, str]) -> Stage:
    """The stage that these variables describe; alone when CLARA_CONTRACT and CLARA_INPUT are not among them."""
    inside = contract.CONTRACT in environ or contract.INPUT in environ
    version = environ.get(contract.CONTRACT, contract.VERSION)
    if version != contract.VERSION:
        raise FinalFailure(
            "{} is {}, this clara_driver speaks {}; use the clara_driver of the same release as the runner".format(
                contract.CONTRACT, one_line(version, 40), contract.VERSION
            )
        )

    def folder(variable: str, alone: str = "") -> Optional[Path]:
        if environ.get(variable):
            return Path(environ[variable])
        return Path(alone) if alone and not inside and Path(alone).is_dir() else None

    source = Path(environ.get(contract.INPUT) or "input")
    return Stage(
        input=source,
        output=Path(environ.get(contract.OUTPUT) or "output"),
        name=environ.get(contract.STAGE) or "stage",
        inputs=_inputs(source, environ.get(contract.INPUTS, "")),
        study=folder(contract.STUDY, "study"),
        publish=folder(contract.PUBLISH) or (None if inside else Path("publish")),
        logs=folder(contract.LOGS),
        locks=folder(contract.LOCKS),
        models=folder(contract.MODELS, "models"),
        triton_url=environ.get(contract.TRITON_URL, ""),
        job=environ.get(contract.JOB) or ALONE_JOB,
        workflow=environ.get(contract.WORKFLOW, ""),
        workflow_digest=environ.get(contract.WORKFLOW_DIGEST, ""),
        attempt=_whole(environ, contract.ATTEMPT) or 1,
        timeout=_whole(environ, contract.TIMEOUT),
        created=environ.get(contract.CREATED) or _now(),
        progress_file=folder(contract.PROGRESS_FILE),
    )


def _inputs(source: Path, names: str) -> Dict[str, Path]:
    return {name: source / name for name in names.split()} or {"": source}


def _whole(environ: Mapping[str, str], variable: str) -> Optional[int]:
    text = environ.get(variable, "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise FinalFailure("{} is {}: a whole number was expected".format(variable, one_line(text, 40)))
    return int(text)


@contextmanager
def stage() -> Iterator[Stage]:
    """Run the body of a stage.

    Leaving the block well writes the lock `<stage>.lock`. TemporaryFailure ends the process with 75, FinalFailure and
    VolumeError with 1 and one line; any other exception with 1 and its traceback. SIGTERM unwinds the block (143).
    """
    here = None  # type: Optional[Stage]
    restore = _unwind_on_sigterm()
    try:
        here = from_environment(os.environ)
        here.output.mkdir(parents=True, exist_ok=True)
        yield here
        if here.locks is not None:
            (here.locks / contract.stage_lock(here.name)).touch()
    except TemporaryFailure as error:
        _say(here, str(error) or "temporary failure")
        raise SystemExit(contract.EXIT_TEMPORARY) from None
    except (FinalFailure, VolumeError) as error:
        _say(here, str(error) or "failed")
        raise SystemExit(EXIT_FINAL) from None
    except SystemExit as error:
        _leave(here, error)
        raise
    except BaseException as error:
        _write_error(here, "{}: {}".format(type(error).__name__, error))
        raise
    finally:
        restore()


def _leave(here: Optional[Stage], error: SystemExit) -> None:
    """`sys.exit(0)` inside the block is success; a text is the reason of a failure, as Python has it."""
    if isinstance(error, _Terminated):
        _write_error(here, "ended by SIGTERM")
    elif not error.code and here is not None and here.locks is not None:
        (here.locks / contract.stage_lock(here.name)).touch()
    elif isinstance(error.code, str):
        _write_error(here, error.code)


def _unwind_on_sigterm() -> Any:
    """Install the handler where Python allows it (main thread); returns what undoes it."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def terminate(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: cleanup is not to be cut short by a second
        raise _Terminated(EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, terminate)
    return lambda: signal.signal(signal.SIGTERM, before)


def _say(here: Optional[Stage], text: str) -> None:
    print("{}: {}".format(here.name if here else "stage", one_line(text)), file=sys.stderr, flush=True)
    _write_error(here, text)


def _write_error(here: Optional[Stage], text: str) -> None:
    """Leave the reason where the runner looks for it; a failure must not hide behind a failure to write it down."""
    folder = os.environ.get(contract.LOGS) if here is None else here.logs
    if folder:
        _append(Path(folder) / contract.ERROR_FILE, one_line(text) + "\n", mode="w")


def _append(path: Path, text: str, mode: str = "a") -> None:
    try:
        with open(path, mode, encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError as error:
        print("clara_driver: {}: {}".format(path, error), file=sys.stderr, flush=True)


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text without line breaks and control characters, at most `limit` characters."""
    text = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text[: 4 * limit]).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
