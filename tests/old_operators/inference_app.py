# An application class with settings from the environment: folders, server, file ending; it publishes beside its output.
import json
import logging
import os
from shutil import copyfile

from clara.logging import perf_logger


class RuntimeEnv:
    DEFAULTS = {
        "NVIDIA_CLARA_INPUT": "/input",
        "NVIDIA_CLARA_OUTPUT": "/output",
        "NVIDIA_CLARA_LOGS": "/logs",
        "NVIDIA_CLARA_PUBLISHING": "/publish",
        "NVIDIA_CLARA_TRTISURI": "localhost:8000",
        "NVIDIA_CLARA_NII_EXTENSION": ".nii",
    }

    def __init__(self):
        for name, value in self.DEFAULTS.items():
            setattr(self, name.rpartition("_")[2].lower(), os.environ.get(name, value))


class App:
    def __init__(self):
        perf_logger.stage_started("Application setup", "Inference application setup")
        self.env = RuntimeEnv()
        parts = self.env.trtisuri.split(":")
        self.host, self.port = parts[0], parts[1]
        perf_logger.stage_ended("Application setup", "Inference application setup")

    def execute(self):
        perf_logger.stage_started("Application execute")
        for name in os.listdir(self.env.input):
            target = os.path.join(self.env.output, name + self.env.extension)
            copyfile(os.path.join(self.env.input, name), target)
            self.publish(target)
        with open(os.path.join(self.env.output, "server.json"), "w") as file:
            json.dump([self.host, self.port], file)
        perf_logger.stage_ended("Application execute")

    def publish(self, path):
        name = os.path.basename(path)
        copyfile(path, os.path.join(self.env.publishing, name))
        with open(os.path.join(self.env.publishing, "config.meta"), "w") as file:
            json.dump({"name": "model", "density": name, "settings": "config_render.json", "seg_masks": []}, file)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    App().execute()
