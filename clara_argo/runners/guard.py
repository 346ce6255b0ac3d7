"""Stands between the runner and one stage, and leaves nothing behind. A script of its own, standard library only.

    guard.py CONTROL RESULT HELD GRACE N END... COMMAND...

It starts the command in a session of its own and becomes the parent of everything the command leaves behind (child
subreaper, Linux). The tree is asked to end (SIGTERM) and after GRACE seconds ended (SIGKILL) when
- the pipe CONTROL closes, because the runner has gone, or says anything, because the runner wants it;
- the command itself has ended and left processes running.
RESULT gets two lines: `pid N` at the start, and `exit N`, `signal N` or `errno N TEXT` when the last process has gone.
HELD is a handle to keep open until then, or -1. It knows nothing of jobs, logs or time limits. Without /proc (macOS)
it reaches the command's own process group only.

END, N words, ends what the command started elsewhere (a container): then the command alone is asked, which is to hand
SIGTERM on, and END goes before SIGKILL. It also runs when the command did not end by itself, so that nothing stays.
"""

import os
import select
import signal
import sys
import time

KILL_AGAIN = 0.05  # seconds between two rounds of SIGKILL, for trees that fork faster than they die
END_WITHIN = 8.0  # seconds that END may take
ENGINE_FAILED = 125  # exit code of docker and podman when they, not the container, have failed


def become_subreaper() -> None:
    """Orphans of the stage become our children. Where the kernel cannot, the process group has to do."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """In the child: if somebody kills the guard itself, the command goes too."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(command: list[str], *, quiet: bool = False) -> tuple[int, int]:
    """Fork and exec. Returns (pid, errno of the exec or 0). `quiet`: what it says goes nowhere."""
    reader, writer = os.pipe()  # closes on exec
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            die_with_parent()
            if os.getppid() != parent:
                os._exit(128 + signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            for number in (
                signal.SIGTERM,
                signal.SIGINT,
                signal.SIGHUP,
                signal.SIGCHLD,
                signal.SIGPIPE,
                signal.SIGXFSZ,
            ):
                signal.signal(number, signal.SIG_DFL)
            if quiet:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
            os.execvp(command[0], command)
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(writer)
    with open(reader, "rb") as file:
        return pid, int(file.read() or 0)


def descendants() -> list[int]:
    """Living processes below this one, from /proc."""
    children: dict[int, list[tuple[int, bytes]]] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  starts faster than pathlib
    except OSError:
        return []
    for name in names:
        try:
            with open("/proc/" + name + "/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # gone meanwhile
        children.setdefault(int(fields[1]), []).append((int(name), fields[0]))
    found, open_ = [], [os.getpid()]
    while open_:
        for pid, state in children.get(open_.pop(), ()):
            open_.append(pid)
            if state not in (b"Z", b"X"):
                found.append(pid)
    return found


def send(number: int, group: int) -> None:
    for pid in [*descendants(), -group]:
        try:
            os.kill(pid, number)
        except OSError:
            continue  # gone meanwhile


def reap(main_child: int, status: int | None) -> tuple[int | None, bool]:
    """(status of the main child if it is known, are there children left)."""
    while True:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == main_child:
            status = code


def watch(child: int, control: int, wake: int, grace: float, end: list[str]) -> tuple[int, bool]:
    """(wait status of the command, was it asked to end) when the whole tree has gone."""
    status, deadline, listen, ending = None, None, [control, wake], False
    while True:
        status, more = reap(child, status)
        if not more:
            return status or 0, control not in listen
        now = time.monotonic()
        if deadline is None and (status is not None or control not in listen):
            ask(child, end, status is not None)
            deadline = now + grace
        elif deadline is not None and now >= deadline and end and not ending:
            ending, _ = True, start(end, quiet=True)
            deadline = now + END_WITHIN
        elif deadline is not None and now >= deadline:
            send(signal.SIGKILL, child)
            deadline = now + KILL_AGAIN
        ready = select.select(listen, [], [], None if deadline is None else max(0, deadline - now))[0]
        if control in ready:
            listen.remove(control)
        if wake in ready and signal.SIGTERM in os.read(wake, 512) and control in listen:
            listen.remove(control)


def ask(child: int, end: list[str], gone: bool) -> None:
    """A container's client hands the wish on; what it leaves behind (`conmon`) clears up by itself."""
    if not end:
        send(signal.SIGTERM, child)
    elif not gone:
        os.kill(child, signal.SIGTERM)  # it is not reaped yet


def clear(end: list[str], wake: int) -> None:
    """Run END to its end, but not longer than it may take."""
    child, _ = start(end, quiet=True)
    deadline = time.monotonic() + END_WITHIN
    while reap(child, None)[1]:
        if time.monotonic() >= deadline:
            send(signal.SIGKILL, child)
        if select.select([wake], [], [], KILL_AGAIN)[0]:
            os.read(wake, 512)


def main(arguments: list[str]) -> None:
    control, result, held = (int(text) for text in arguments[:3])
    grace, count = float(arguments[3]), int(arguments[4])
    end_, command = arguments[5 : 5 + count], arguments[5 + count :]
    for handle in (control, result, held):
        if handle >= 0:
            os.set_inheritable(handle, False)  # the stage gets none of our pipes, nor the job's lock
    become_subreaper()
    wake, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    child, error = start(command)
    if error:
        end = f"errno {error} {os.strerror(error)}"
        os.waitpid(child, 0)
    else:
        say(result, f"pid {child}")
        status, asked = watch(child, control, wake, grace, end_)
        if end_ and (asked or os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == ENGINE_FAILED):
            clear(end_, wake)
        end = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
    say(result, end)


def say(result: int, words: str) -> None:
    try:
        os.write(result, (words + "\n").encode())
    except BrokenPipeError:
        return  # the runner has gone; what matters is that the stage goes too


if __name__ == "__main__":
    main(sys.argv[1:])
