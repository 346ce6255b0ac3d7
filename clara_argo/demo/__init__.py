"""The demo: the whole loop with a stand-in PACS, judged by readers that are not ours. `run` is the door."""

from clara_argo.demo.loop import Options, Report, Summary, run

__all__ = ["Options", "Report", "Summary", "run"]
