"""Processes forked from a server that has imported beforehand what takes most of a process's time."""

import importlib
import multiprocessing
import os
import sys

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["distributed", "skfusion"])


def start(module, *arguments):
    """Start the command of a module whose ``main`` is one of click's; returns the process, which says nothing."""
    process = FORKING.Process(target=_run_silently, args=(module, arguments))
    process.start()
    return process


def _run_silently(module, arguments):
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    importlib.import_module(module).main(arguments)
