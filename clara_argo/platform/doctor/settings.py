"""The ConfigMap of Argo's controller, as far as it decides about jobs that fail for no reason of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clara_argo import source
from clara_argo.errors import DefinitionError, Refused
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import CONFIG_MAPS
from clara_argo.platform.doctor.findings import Check, fail, ok, unknown, warn
from clara_argo.platform.doctor.site import Site
from clara_argo.source import List, Map, Node, Text

PART = "settings"
NAME = "workflow-controller-configmap"
STEPS, ENOUGH = "EXECUTOR_RETRY_BACKOFF_STEPS", 9  # of waits for a store that is away: some two minutes
# A server that has just started refuses what it allows a second later; Argo asks again after what this finds.
AGAIN, STARTING = "TRANSIENT_ERROR_PATTERN", "workflowtaskresults.* is forbidden: User "
EXAMPLE = 'workflowtaskresults.argoproj.io "x" is forbidden: User "y" cannot patch resource "workflowtaskresults"'
INSTALL = "clara cluster install, or set it in ConfigMap"


def settings(site: Site) -> Iterator[Check]:
    found = site.controller
    namespace, name = (found.namespace, found.settings) if found else (site.api.namespace, NAME)
    where = f"{namespace}/{name}"
    try:
        data = site.api.within(namespace).get(CONFIG_MAPS, name).get("data") or {}
    except NotHere:
        yield unknown(PART, f"there is no ConfigMap {where}")
        return
    except Refused:
        yield unknown(PART, f"this account may not read ConfigMap {where}")
        return
    try:
        values = _values(data, where)
    except DefinitionError as error:
        yield unknown(PART, f"not understood: {error}")
        return
    yield _restarts(values, where)
    executor = values.get("executor")
    variables = _variables(executor)
    yield _patience(variables, where)
    yield _forgiveness(variables, where)
    if site.restricted:
        yield _admitted(executor, where)


def _values(data: dict[str, str], where: str) -> dict[str, Node]:
    """Old installations keep everything in one key."""
    if "config" in data:
        whole = source.parse(data["config"], where)
        return {str(key): whole[key] for key in whole} if isinstance(whole, Map) else {}
    wanted = ("failedPodRestart", "executor")
    return {key: source.parse(data[key], f"{where}: {key}") for key in wanted if data.get(key, "").strip()}


def _restarts(values: dict[str, Node], where: str) -> Check:
    if _text(values.get("failedPodRestart"), "enabled") == "true":
        return ok(PART, "a pod that its node threw out before it began is made anew")
    said = "a job fails when a node throws out a pod before it began"
    return warn(PART, said, f"{INSTALL} {where}: failedPodRestart: {{enabled: true}}")


def _variables(executor: Node | None) -> dict[str, str]:
    found = _get(executor, "env")
    return {_text(item, "name"): _text(item, "value") for item in found} if isinstance(found, List) else {}


def _patience(variables: dict[str, str], where: str) -> Check:
    steps = variables.get(STEPS, "")
    if steps.isdigit() and int(steps) >= ENOUGH:
        return ok(PART, f"{STEPS}={steps}: stages outlive minutes without the store")
    said = "a stage that has ended is computed again when the store is away for half a minute"
    return warn(PART, said, f'{INSTALL} {where}: executor: {{env: [{{name: {STEPS}, value: "{ENOUGH}"}}]}}')


def _forgiveness(variables: dict[str, str], where: str) -> Check:
    if _finds(variables.get(AGAIN, "")):
        return ok(PART, "stages outlive the start of the API server")
    said = "a stage that ends while the API server starts is computed again, or has failed"
    return warn(PART, said, f"{INSTALL} {where}: executor: {{env: [{{name: {AGAIN}, value: '{STARTING}'}}]}}")


def _finds(pattern: str) -> bool:
    """An expression of Go, which is read here nearly as there."""
    try:
        return bool(pattern) and re.search(pattern, EXAMPLE) is not None
    except re.error:
        return False


def _admitted(executor: Node | None, where: str) -> Check:
    context = _get(executor, "securityContext")
    drop = _get(_get(context, "capabilities"), "drop")
    dropped = isinstance(drop, List) and [str(item) for item in drop] == ["ALL"]
    if _text(context, "allowPrivilegeEscalation") == "false" and dropped:
        return ok(PART, "Argo's own containers ask for no more than the namespace gives")
    said = "the namespace is restricted and will refuse every pod of a job: Argo's own containers ask for too much"
    fix = "executor: {securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}"
    return fail(PART, said, f"{INSTALL} {where}: {fix}")


def _get(node: Node | None, key: str) -> Node | None:
    return node[key] if isinstance(node, Map) and key in node else None


def _text(node: Node | None, key: str) -> str:
    found = _get(node, key)
    return str(found) if isinstance(found, Text) else ""
