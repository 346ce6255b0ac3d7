"""The cluster itself, as `clara cluster doctor` sees it: nothing that jobs need is missing."""

from __future__ import annotations

import json

from click.testing import CliRunner
from cluster.conftest import Cluster

from clara_argo.cli import main


def test_the_doctor_finds_nothing_that_fails(cluster: Cluster) -> None:
    done = CliRunner().invoke(main, ["cluster", "doctor", "-o", "json"])
    checks = json.loads(done.stdout)["checks"]
    assert [check for check in checks if check["level"] == "fail"] == []
    assert {"api", "alive", "store", "definitions"} <= {check["part"] for check in checks if check["level"] == "ok"}
    assert done.exit_code == 0
