#!/bin/bash
# As users wrote them: a driver, the main folder cut out of the variable, failures logged and raised at the end.
import logging
import os
import shutil
from pathlib import Path

from clara import Driver, Error, Payload  # noqa: F401

logging.basicConfig(level=logging.INFO)
logger = logging.getLogger(__name__)


def execute(driver, payload):
    input_dir = os.environ.get("NVIDIA_CLARA_INPUTPATHS", "/input").split(":")[1]
    output_dir = os.environ.get("NVIDIA_CLARA_OUTPUTPATHS", "/output").split(":")[1]
    wrong = 0
    for item in os.listdir(input_dir):
        data = Path(input_dir, item).read_bytes()
        wrong += data[128:132] != b"DICM"
        shutil.copy2(os.path.join(input_dir, item), os.path.join(output_dir, item))
    logger.info("scanned, {} wrong".format(wrong))
    if wrong > 0:
        raise Exception("{} invalid DICOM part-10 file(s) found".format(wrong))


if __name__ == "__main__":
    logger.info("started")
    driver = Driver(execute_handler=execute)
    driver.start()
    driver.wait_for_completion()
    logger.info("exited")
