"""What Argo and Kubernetes say about a pod -> what a person needs to know, in plain words. Pure.

Their sentences are no interface: what is not recognised is passed on as it is.
"""

from __future__ import annotations

import re
from datetime import datetime

from clara_argo.runners.argo.attempts import Attempt
from clara_argo.runners.argo.workflow import MAIN, Node, Template, Workflow
from clara_driver.driver import one_line

EXIT = re.compile(r"\(exit code (\d+)\)")
UNSCHEDULABLE = re.compile(r"^Unschedulable\b:?\s*(.*)", re.DOTALL)
LACKING = re.compile(r"\bInsufficient ([\w./-]*\w)")
IMAGE = re.compile(r'(?:image|reference name|to pull) "([^"]+)"')
KILLED = {137: "SIGKILL", 143: "SIGTERM"}
IMAGE_TROUBLE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
START_TROUBLE = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff")
TURN = "waits for its turn"  # of a lock, or of what a quota gives; Argo queues those that want it
QUOTA = "exceeded quota"
HOPELESS = ("ErrImageNeverPull", "InvalidImageName")  # what waiting cannot mend
SHUTDOWN = ("shutdown with strategy", "Stopped with strategy")
GPU = re.compile(r"gpu$|/mig-|/gpu", re.IGNORECASE)


def waits_for(message: str) -> str:
    """What a pod that does not start waits for; "" when it is only starting."""
    if message.startswith("Waiting for "):
        return f"{TURN}: {one_line(message, 300)}"
    if (quota := message.find(QUOTA)) >= 0:  # Argo makes the pod when others have gone
        return f"{TURN}: {one_line(message[quota:], 300)}"
    found = UNSCHEDULABLE.match(message)
    if found:
        return _no_place(found[1])
    reason = message.partition(":")[0].strip()
    said = one_line(message.partition(":")[2], 300)
    if reason in IMAGE_TROUBLE:
        return _image(reason, said)
    if reason in START_TROUBLE:
        return f"its container cannot be made: {said or reason}"
    return ""


def hopeless(message: str) -> bool:
    return message.partition(":")[0].strip() in HOPELESS


def _no_place(said: str) -> str:
    said = one_line(said, 300)
    lacking = dict.fromkeys(LACKING.findall(said))
    words = [_resource(name) for name in lacking]
    if "nodes are available" in said and not words:
        words = ["a node that takes it"]
    if not words:
        return f"waits for a place on a node: {said}" if said else "waits for a place on a node"
    return f"waits for {' and '.join(words)}: {said}"


def _resource(name: str) -> str:
    return {"cpu": "free processors", "memory": "free memory", "ephemeral-storage": "free disk"}.get(
        name, f"a free GPU ({name})" if GPU.search(name) else f"free {name}"
    )


def _image(reason: str, said: str) -> str:
    found = IMAGE.search(said)
    image = f" {found[1]}" if found else ""
    lower = said.lower()
    if reason == "InvalidImageName":
        return f"its image{image} has no valid name" + (f": {said}" if said else "")
    if reason == "ErrImageNeverPull":
        return f"its image{image} is not on the node, and may not be fetched" + (f": {said}" if said else "")
    if "not found" in lower or "manifest unknown" in lower or "does not exist" in lower:
        return f"its image{image} was not found: {said}"
    if any(word in lower for word in ("unauthorized", "denied", "authorization", "403", "401")):
        return f"its image{image} may not be fetched, name a pull secret: {said}"
    return f"its image{image} cannot be fetched" + (f": {said}" if said else "")


def is_shutdown(message: str) -> bool:
    return any(text in message for text in SHUTDOWN)


def exit_code(attempt: Attempt) -> int | None:
    """Of the stage's own container; None when it did not run to an end of its own."""
    if attempt.node.well:
        return 0
    if "deadline" in attempt.pod.message:
        return None
    found = EXIT.search(attempt.node.message)
    whose = attempt.node.message.partition(":")[0]
    if found and whose in (MAIN, attempt.container):
        return int(found[1])
    return attempt.node.exit_code or None


def reason(workflow: Workflow, attempt: Attempt, said: str) -> str:
    """Why an attempt failed, in one line. `said`: what the stage itself left as the reason."""
    message, code = attempt.node.message or attempt.pod.message, exit_code(attempt)
    both = f"{message}; {attempt.pod.message}"  # of a pod of all stages only the pod says that time was up
    if "longer than the specified deadline" in both:
        return _out_of_time(workflow, attempt)
    if "Step exceeded its deadline" in both:
        return _job_out_of_time(workflow)
    if "OOMKilled" in message:
        memory = _template_of(workflow, attempt).memory.get(attempt.container)
        more = f" than its limit of {memory}" if memory else " than there was"
        return f"killed: it needed more memory{more}; raise 'memory' in its stage.yaml"
    if message.startswith("init:"):
        return f"its input could not be put in place: {_after(message)}"
    if message.startswith("wait:"):
        return f"it ended, but its output could not be stored: {_after(message)}"
    if "failed to find name in PATH" in message:
        return f"its command is not in its image: {_after(message)}"
    if code in KILLED:
        return f"killed by {KILLED[code]}" + (f": {said}" if said else "; perhaps its node or its pod was taken away")
    if code:
        return f"exit code {code}" + (f": {said}" if said else "; see its logs")
    return waits_for(message) or one_line(message) or said or "it failed without a word"


def _out_of_time(workflow: Workflow, attempt: Attempt) -> str:
    """Argo says the same when the whole job has no more time: then the stage had less than its own."""
    seconds = _template_of(workflow, attempt).timeout
    if _took(attempt.pod) < seconds:
        return _job_out_of_time(workflow)
    limit = f" of {seconds} s" if seconds else ""
    if workflow.fused:
        return f"time limit{limit} of all stages together reached; raise 'timeout' in the stage.yaml of the slow ones"
    return f"time limit{limit} reached; raise 'timeout' in its stage.yaml if it needs longer"


def _job_out_of_time(workflow: Workflow) -> str:
    limit = f" of {workflow.limit} s" if workflow.limit else ""
    return f"the time limit{limit} of the whole job was reached"


def _took(pod: Node) -> float:
    """Seconds from its making to its end; without end when that is not known."""
    try:
        return (datetime.fromisoformat(pod.finished) - datetime.fromisoformat(pod.started)).total_seconds()
    except ValueError:
        return float("inf")


def _template_of(workflow: Workflow, attempt: Attempt) -> Template:
    return workflow.templates.get(attempt.pod.template) or Template(memory={})


def _after(message: str) -> str:
    """`wait: Error (exit code 64): text` -> text."""
    text = EXIT.split(message, maxsplit=1)[-1].lstrip(": ") if EXIT.search(message) else message
    return one_line(text or message, 300)
