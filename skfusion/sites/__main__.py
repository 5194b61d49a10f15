"""``python -m skfusion.sites serve``: a site's process."""

import argparse
import logging
import signal
import sys
from contextlib import suppress

from skfusion._checks import shown
from skfusion.sites._claim import ClaimedError
from skfusion.sites._function_names import FunctionNameError, named_function
from skfusion.sites.folder import check_folder, check_max_bytes, serve
from skfusion.sites.message import MAX_BYTES

_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM


def main(arguments: list[str] | None = None) -> int:
    """Serve a site as the command line says.

    Parameters
    ----------
    arguments : list of str or None, default=None
        None for those of the process.

    Returns
    -------
    int
        The process's exit status.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        _serve(_load(options.site, parser), options, parser)
    except KeyboardInterrupt:
        logging.info("ended from the keyboard")
        return _INTERRUPTED
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m skfusion.sites")
    command = parser.add_subparsers(required=True).add_parser(
        "serve", help="let a site take part in training, through a folder"
    )
    command.add_argument("--folder", required=True, type=_folder, help="the folder that is shared with the coordinator")
    command.add_argument(
        "--site", required=True, metavar="MODULE:FUNCTION", help="a function that returns a Site, as in hospital:load"
    )
    command.add_argument("--stay", action="store_true", help="wait for the next run when one is over")
    command.add_argument("--max-bytes", type=_n_bytes, default=MAX_BYTES, help="longer requests are refused")
    return parser


def _folder(text):  # checked here, before rows are loaded, which may take long
    try:
        return check_folder(text)
    except NotADirectoryError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _n_bytes(text):
    with suppress(ValueError):  # what is not a number is shown as it is
        text = int(text)
    try:
        return check_max_bytes(text)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _serve(site, options, parser):
    try:
        serve(site, options.folder, stay=options.stay, max_bytes=options.max_bytes)
    except (ClaimedError, OSError) as error:
        parser.exit(1, f"{error}\n")


def _load(name, parser):
    """Call the function that the command line names; what goes wrong in there is its author's to read."""
    try:
        load = named_function("--site", name)
    except FunctionNameError as error:
        parser.error(str(error))
    site = load()
    if not callable(getattr(site, "answer", None)):
        parser.error(f"--site must name a function that returns a Site, got {shown(site)} from {name}")
    return site


if __name__ == "__main__":
    sys.exit(main())
