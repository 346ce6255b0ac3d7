"""Jobs on a cluster: `ArgoRunner` keeps the promises of the Runner protocol with Argo Workflows and an S3 store."""

from clara_argo.runners.argo.runner import ArgoRunner

__all__ = ["ArgoRunner"]
