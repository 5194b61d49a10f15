"""Python processes that start at once, forked from a server that has imported what takes most of a process's time."""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["distributed", "skfusion"])
SECONDS = 300  # after which a process has failed


def start(*command, folder=".", log=os.devnull, **environment):
    """Start ``python *command``, of the form ``-m module ...`` or ``script ...``, which writes all it says to a log."""
    arguments = [str(argument) for argument in command]
    process = FORKING.Process(target=_run, args=(arguments, Path(folder).resolve(), log, environment))
    process.start()
    return process


def exit_code(process):
    """Wait for a process to end, and return how it did: None if it did not, and had to be killed.

    The tests' own process would wait for it without a limit.
    """
    process.join(SECONDS)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code


def _run(command, folder, log, environment):
    os.chdir(folder)
    os.environ |= environment
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    if command[0] == "-m":
        sys.argv = command[1:]
        sys.path.insert(0, "")
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path.insert(0, os.path.dirname(command[0]))
        runpy.run_path(command[0], run_name="__main__")
