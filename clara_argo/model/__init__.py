"""What workflows, routes and jobs are, as frozen values. No files, no YAML, no clock."""
