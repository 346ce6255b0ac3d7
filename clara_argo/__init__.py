"""The control side of clara-argo: workflow definitions, their graph, and the runners that execute it."""

__version__ = "0.1.0"
