"""The contract between a runner and a stage: the names of folders, variables, locks and exit codes. Written only here.

A stage finds its folders in these variables. In a container they have the values of `CONTAINER`; as a process on a
laptop the same folders lie below the job.
"""

VERSION = "1"

CONTRACT = "CLARA_CONTRACT"  # "1"
INPUT = "CLARA_INPUT"  # folder; several inputs are sub-folders named after the producing stage
INPUTS = "CLARA_INPUTS"  # names of these sub-folders with blanks between, only when there are several
OUTPUT = "CLARA_OUTPUT"  # folder, empty at start
STUDY = "CLARA_STUDY"  # folder with the payload's DICOM, when the stage asks for it
LOCKS = "CLARA_LOCKS"
LOGS = "CLARA_LOGS"
PUBLISH = "CLARA_PUBLISH"  # folder for the render server, when the stage asks for it
JOB = "CLARA_JOB"  # opaque id, 32 hex digits
WORKFLOW = "CLARA_WORKFLOW"  # name
WORKFLOW_DIGEST = "CLARA_WORKFLOW_DIGEST"  # hex; goes into the UIDs of what a stage makes
STAGE = "CLARA_STAGE"  # name
ATTEMPT = "CLARA_ATTEMPT"  # from 1
TIMEOUT = "CLARA_TIMEOUT"  # seconds
CREATED = "CLARA_CREATED"  # creation of the job, UTC, ISO 8601: the only clock a stage may write into its output
PROGRESS_FILE = "CLARA_PROGRESS_FILE"  # write "done/total"
TRITON_URL = "CLARA_TRITON_URL"  # gRPC host:port of an inference server, when there is one
MODELS = "CLARA_MODELS"  # folder of the model repository, when there is no server

INPUT_LOCK = "input.lock"  # exists before the stage starts
ERROR_FILE = "error.txt"  # in the logs folder: one line, why the stage failed; the driver writes it, others may
PAYLOAD_FOLDER = "payload"  # sub-folder of the payload when it is one of several inputs

EXIT_OK = 0
EXIT_TEMPORARY = 75  # may be retried (EX_TEMPFAIL of sysexits.h); every other code but 0 is final

CONTAINER = {
    INPUT: "/app/input",
    OUTPUT: "/app/output",
    STUDY: "/app/study",
    LOCKS: "/app/locks",
    LOGS: "/app/logs",
    PUBLISH: "/app/publish",
}


def stage_lock(stage: str) -> str:
    """The file in the locks folder that a finished stage leaves."""
    return stage + ".lock"
