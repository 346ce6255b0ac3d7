"""What a target lacks before jobs of some workflows can begin there: for a start and for checks; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from clara_argo.errors import Away, ClaraError
from clara_argo.graph import Graph
from clara_argo.model.target import LOCAL
from clara_argo.runners import targets


class Answer(NamedTuple):
    what: str  # what was asked about, for people
    trouble: str  # what is wrong with it and what to do; "" = it is ready


def ask(name: str, graphs: Mapping[str, Graph]) -> Iterator[Answer]:
    """About each workflow and the store, as answers come. Nothing is asked of this machine, and no more of a cluster
    that is away. Raises nothing that a person or time can mend."""
    if name == LOCAL:
        return
    try:
        target, api = targets.cluster(name)
    except ClaraError as error:
        yield Answer(f"target {name!r}", str(error))
        return
    from clara_argo.runners.argo.submission import Templates
    from clara_argo.runners.clusterstore import ClusterStore

    with api:
        templates = Templates(api, target, apply=False)
        for workflow, graph in graphs.items():
            try:
                templates.of(graph)
            except Away as error:
                yield Answer(f"target {name!r}", str(error))
                return
            except ClaraError as error:
                yield Answer(f"workflow {workflow!r}", str(error))
            else:
                yield Answer(f"workflow {workflow!r}", "")
        try:
            ClusterStore(api, target, targets.credentials).check()
        except ClaraError as error:
            yield Answer("store", str(error))
        else:
            yield Answer("store", "")
