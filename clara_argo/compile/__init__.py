"""Graph -> Argo objects: a WorkflowTemplate that holds all structure, a Workflow that names it and gives parameters.

Pure: no files, no network, no clock; the same graph and cluster give the same text. hera's models (argoproj-labs/hera)
are the second reader of what is built here, and this package is their only home. What the fields mean, and which of
them work together, was tried on Argo 4.1; Argo's documents: https://argo-workflows.readthedocs.io/.
"""

from clara_argo.compile.cluster import Cluster
from clara_argo.compile.text import as_json, as_yaml
from clara_argo.compile.workflow import (
    DIGEST,
    MANAGED,
    RESULTS,
    STAGES,
    WORKFLOW,
    WORKFLOW_DIGEST,
    Compiled,
    Submission,
    compile_graph,
    template_name,
    workflow,
)  # fmt: skip

__all__ = [
    "DIGEST",
    "MANAGED",
    "RESULTS",
    "STAGES",
    "WORKFLOW",
    "WORKFLOW_DIGEST",
    "Cluster",
    "Compiled",
    "Submission",
    "as_json",
    "as_yaml",
    "compile_graph",
    "template_name",
    "workflow",
]
