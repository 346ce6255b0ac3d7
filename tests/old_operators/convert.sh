#!/bin/sh
# No library: two variables and the exit code.
set -e
for file in "$NVIDIA_CLARA_INPUT"/*; do
  tr a-z A-Z < "$file" > "$NVIDIA_CLARA_OUTPUT/$(basename "$file")"
done
echo "converted" >> "$NVIDIA_CLARA_LOGS/convert.log"
