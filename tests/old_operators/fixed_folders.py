# Knows no variables: the folders of its container stand in the code.
import os
import shutil

for name in os.listdir("/input"):
    shutil.copy("/input/" + name, "/output/" + name)
print("copied", len(os.listdir("/output")))
