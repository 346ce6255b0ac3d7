"""What a stage imports: its folders, its locks, how it says how far it is, that it is done, or why it is not.

    with clara_driver.stage() as stage:
        segment(stage.input, stage.output)

Standard library only, Python 3.8 or later: this folder may be copied into any image. It knows no runner; what both
sides share is in `contract`. Each part is loaded when it is first used: a stage without callbacks does not wait for
theirs, and a runner that wants only the names in `contract` for neither.
"""

import sys
from typing import TYPE_CHECKING

__all__ = ["Driver", "Entry", "FinalFailure", "Stage", "TemporaryFailure", "Work", "stage"]

if TYPE_CHECKING or sys.version_info < (3, 7):  # of old images; its modules have no __getattr__
    from clara_driver.callbacks import Driver, Entry, Work
    from clara_driver.driver import FinalFailure, Stage, TemporaryFailure, stage
else:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in ("Driver", "Entry", "Work"):
            from clara_driver import callbacks as part
        else:
            from clara_driver import driver as part
        globals()[name] = getattr(part, name)
        return globals()[name]
