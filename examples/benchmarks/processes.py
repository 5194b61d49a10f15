"""Processes on this machine that are started, waited for and ended; the benchmarks and the tests of sites use them."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import skfusion

SECONDS = 300  # after which something that is waited for has failed


class Processes:
    """Processes by name, each of which writes a log; a context manager that ends them and what they have started."""

    def __init__(self, folder):
        self.folder, self._running = folder, {}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for name in list(self._running):
            self.kill(name)

    def start(self, name, command, **options):
        """Start a process, in place of one of that name which has ended; its log begins anew.

        Ctrl-C does not reach it, so that those it has started are still known as its own when they are ended.
        """
        with open(self.log(name), "w") as log:
            self._running[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **options,
            )
        return self._running[name]

    def kill(self, name):
        """Kill a process with -9, and what it has started."""
        process = self._running.pop(name)
        for pid in [process.pid, *_descendants(process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def log(self, name):
        return self.folder / f"{name}.log"

    def read(self, name):
        """Return what a process has written so far."""
        return self.log(name).read_text(errors="replace")

    def wait_for(self, condition, what, seconds=SECONDS):
        """Wait until something holds; shows the logs if it does not come to that."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds} s for {what} in vain\n{self.logs()}")
            time.sleep(0.1)

    def logs(self):
        """Return the ends of all logs."""
        return "\n".join(f"--- {name}\n{self.read(name)[-4000:]}" for name in self._running)


def run(command, *, check=True, seconds=SECONDS, **options):
    """Run a command to its end; returns its exit code and what it has printed.

    Raises
    ------
    RuntimeError
        If it fails, unless ``check`` is False.
    """
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    done = subprocess.run(command, timeout=seconds, check=False, **pipes, **options)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout[-4000:]}")
    return done.returncode, done.stdout


def environment(*folders):
    """Return the environment of a process that finds this Python's programs, this skfusion, and modules in folders."""
    packages, programs = Path(skfusion.__file__).parents[1], Path(sys.executable).parent
    return os.environ | {
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([*map(str, folders), str(packages), os.environ.get("PYTHONPATH", "")]),
    }


def free_port():
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _descendants(pid):
    listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in parents if its_parent == parent]
    return found[1:]
