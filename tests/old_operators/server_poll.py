# Waits for a TensorRT inference server 1.x to be ready.
import os
import sys
from urllib.request import urlopen

URI = "http://" + os.environ["NVIDIA_CLARA_TRTISURI"] + "/api/status"
for _ in range(3):
    try:
        if "SERVER_READY" in urlopen(URI, timeout=5).read().decode():
            break
    except OSError as error:
        print("cannot get", URI, error, file=sys.stderr)
else:
    sys.exit("the inference server is not ready")
