"""Entry point of the command ``retalkit``: subcommands and error handling.

Every error is reported in one line with an exit code. Exit codes: 0 success, 1 internal error, 2 user error, 3 failed
jobs of a batch, 4 results that need review (a run that edited no frame, or jobs of a batch), 130 stopped by Ctrl-C, 143
by SIGTERM, 129 by SIGHUP.
"""

from __future__ import annotations

import errno
import gc
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import typer.main

from retalkit._version import __version__
from retalkit.cli import (
    batch,
    compare,
    config,
    credentials,
    dub,
    evaluate,
    inspect,
    localize,
    motion,
    new_plugin,
    plugins,
    weights,
)
from retalkit.cli.interrupts import StoppedError, command_text, raise_on_termination
from retalkit.cli.native_logs import filter_native_logs
from retalkit.cli.path_arguments import check_paths_of
from retalkit.cli.plugin_commands import CommandGroup
from retalkit.errors import RetalkitError, StageError, Terminated
from retalkit.paths import printable, undecodable
from retalkit.plugins.loading import capture_output

USAGE_ERROR = 2
INTERRUPTED = 130
_HELP_COLUMNS = 52
_SHOWN_FAULTS = 20
"""Maximum number of further faults of a job list or a cue sheet that are listed below the first one."""
_MACHINE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE}
)
"""Errors whose cause is the disk, a permission or a limit of the machine, and not a bug."""

_TRACEBACK = "--traceback"
_RESUMABLE = ("dub", "localize", "batch", "compare", "train")
_NOT_RESUMABLE = [["train", name] for name in ("export", "compare-sources", "config", "schema")]


_COMMANDS: dict[str, Callable[..., None]] = {
    "dub": dub.dub,
    "localize": localize.localize,
    "batch": batch.batch,
    "inspect": inspect.inspect,
    "motion": motion.motion,
    "compare": compare.compare,
    "plugins": plugins.plugins,
    "new-plugin": new_plugin.new_plugin,
}
_GROUPS: dict[str, Callable[[], typer.Typer]] = {
    "config": config.application,
    "credentials": credentials.application,
    "evaluate": evaluate.application,
    "weights": weights.application,
}


def application(only: str = "") -> typer.Typer:
    """Return the command tree. Each command imports its dependencies when the command runs.

    ``only``: name of the only command to include. Typer builds the parameters of all included commands, which delays
    the start of a command by 20 ms.
    """
    app = typer.Typer(
        cls=CommandGroup,
        help="Visual dubbing: make the lips of a talking-head video follow new speech.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        # Subcommands inherit the help options.
        context_settings={"help_option_names": ["-h", "--help"], **_narrow_terminal()},
    )
    app.callback(invoke_without_command=True)(_root)
    for name, function in _COMMANDS.items():
        if only in ("", name):
            app.command(name)(function)
    for name, group in _GROUPS.items():
        if only in ("", name):
            app.add_typer(group(), name=name)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. This function is the console script's entry point and always raises SystemExit.

    Without ``arguments``, the process belongs to the command line, and the streams and warnings of the process are
    configured for it.
    """
    _limit_blas_threads()
    with ExitStack() as stack:
        stack.enter_context(capture_output())
        if arguments is None:
            # The garbage collection at the end of the process would take a tenth of a second.
            stack.callback(gc.freeze)
            stack.enter_context(filter_native_logs())
            _configure_process()
        _run(list(sys.argv[1:] if arguments is None else arguments))


def _run(args: list[str]) -> NoReturn:
    options_end = args.index("--") if "--" in args else len(args)
    with_traceback = _TRACEBACK in args[:options_end]
    args = [arg for i, arg in enumerate(args) if not (arg == _TRACEBACK and i < options_end)]
    received = raise_on_termination()
    _check_encoding(args, with_traceback)
    try:
        only = args[0] if args and args[0] in {*_COMMANDS, *_GROUPS} else ""
        command = check_paths_of(typer.main.get_command(application(only)))
        code = command(args=args, prog_name="retalkit", standalone_mode=False, obj=command_text(args))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Terminated as signalled:
        code = 128 + signalled.number
    except StoppedError as stopped:
        code = stopped.exit_code
    except Exception as error:
        if not received:
            _report(error, with_traceback)
        code = 128 + received[-1]
    # Typer returns an exit code if Ctrl-C is pressed inside a command.
    if isinstance(code, int) and code >= 128:
        resumable = args[:1] in [[name] for name in _RESUMABLE] or args[:2] == ["weights", "pull"]
        resumable = resumable and args[:2] not in _NOT_RESUMABLE
        # The command is printed unchanged, so that it can be copied.
        with suppress(OSError):
            typer.echo(f"retalkit: stopped{f'; resume with: {command_text(args)}' if resumable else ''}", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception, with_traceback: bool) -> NoReturn:
    """Print an error in one line and exit."""
    if isinstance(error, RetalkitError):
        _fail(str(error), USAGE_ERROR, with_traceback, others=error.others)
    if isinstance(error, StageError):
        _fail(f"{error}" + ("" if with_traceback else f" (use {_TRACEBACK} for details)"), 1, with_traceback)
    if isinstance(error, UnicodeEncodeError):
        if not any("\udc80" <= character <= "\udcff" for character in error.object[error.start : error.end]):
            _fail(f"{type(error).__name__}: {error}", 1, with_traceback)
        shown = printable(error.object[max(error.start - 40, 0) : error.end + 10])
        _fail(f"'{shown}': {undecodable()}", USAGE_ERROR, with_traceback)
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
        name = f"{error.filename}: " if error.filename else ""
        _fail(f"{name}{error.strerror or error}", USAGE_ERROR, with_traceback)
    # Typer's usage errors have no public base class, so usage errors are identified by this method.
    format_message = getattr(error, "format_message", None)
    if format_message is not None:
        from retalkit.config.messages import plain_requirement

        context = getattr(error, "ctx", None)
        command = " ".join(context.command_path.split()[:2]) if context is not None else "retalkit"
        _fail(f"{plain_requirement(format_message())} (see `{command} --help`)", USAGE_ERROR, with_traceback)
    hint = "" if with_traceback else f" (internal error: use {_TRACEBACK} for details)"
    _fail(f"{type(error).__name__}: {error}{hint}", 1, with_traceback)


def _narrow_terminal() -> dict[str, int]:
    """Return the width of a terminal that is narrower than the minimum of the help formatter."""
    columns = shutil.get_terminal_size().columns
    return {"terminal_width": max(columns, 20)} if columns < _HELP_COLUMNS else {}


def _configure_process() -> None:
    """Hide the warnings of libraries, and print characters that the terminal's encoding lacks as escapes."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _check_encoding(args: Sequence[str], with_traceback: bool) -> None:
    """Exit if an argument or the working directory has a name that is not text."""
    try:
        folder = str(Path.cwd())
    except OSError as error:
        _fail(f"the working directory cannot be used: {error.strerror or error}", USAGE_ERROR, with_traceback)
    for text in (*args, folder):
        if any("\udc80" <= character <= "\udcff" for character in text):
            _fail(f"{printable(text)}: {undecodable()}", USAGE_ERROR, with_traceback)


def _limit_blas_threads() -> None:
    """Limit OpenBLAS to one thread. Must be called before numpy is imported.

    All matrices are small. With several BLAS threads, synchronization takes longer than computation, and the BLAS
    threads occupy cores that other threads need. On a busy machine, a singular value decomposition took seconds. The
    limit applies only to numpy's OpenBLAS. An equivalent limit on MKL would restrict torch's network inference to one
    core.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _fail(
    text: str, code: int, with_traceback: bool, begin: str = "retalkit: error: ", others: Sequence[str] = ()
) -> NoReturn:
    if with_traceback:
        traceback.print_exc()
    typer.echo(begin + " ".join(text.split()), err=True)
    for message in others[:_SHOWN_FAULTS]:
        typer.echo("  " + " ".join(message.split()), err=True)
    if len(others) > _SHOWN_FAULTS:
        typer.echo(f"  {len(others) - _SHOWN_FAULTS} further faults are not listed", err=True)
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"retalkit {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option(_TRACEBACK, help="Show the traceback of an error. Accepted anywhere on the command line.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
