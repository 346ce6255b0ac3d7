"""What a stage imports: its folders, its locks, how it says how far it is, that it is done, or why it is not.

    with clara_driver.stage() as stage:
        segment(stage.input, stage.output)

Standard library only, Python 3.8 or later: this folder may be copied into any image. It knows no runner; what both
sides share is in `contract`.
"""

from clara_driver.callbacks import Driver, Entry, Work
from clara_driver.driver import FinalFailure, Stage, TemporaryFailure, stage

__all__ = ["Driver", "Entry", "FinalFailure", "Stage", "TemporaryFailure", "Work", "stage"]
