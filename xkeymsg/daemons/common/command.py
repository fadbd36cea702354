"""The command line of a daemon: `--config FILE`, and `--check`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from xkeymsg.daemons.common.terminal import COMPLETION, EXIT_CODES_UNOPENED, say, say_faults
from xkeymsg.errors import ConfigurationError

__all__ = (
    "check_flag",
    "config_flag",
    "core_in_use",
    "daemon_command",
    "only_config",
    "start",
    "version_flag",
)

_Config = TypeVar("_Config")
_Function = Callable[..., Any]

_FILE = click.Path(path_type=Path, dir_okay=False)


def core_in_use() -> str:
    """Return which core seals and opens: the native one, or the Python code."""
    from xkeymsg import native  # noqa: PLC0415 - only where it is shown: it loads the envelopes

    return "pure Python" if native.core is None else f"native core {native.core.__version__}"


def version_flag(program: str, version: str | None = None) -> Callable[[_Function], _Function]:
    """Add `--version`, which shows the core that is in use, too."""

    def show(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            from importlib import metadata  # noqa: PLC0415 - slow, and every command loads this

            known = version or metadata.version("xkeymsg")
            click.echo(f"{program}, version {known} ({core_in_use()})")
            context.exit()

    return click.option(
        "--version",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help="Show the version and the core, and exit.",
    )


def config_flag(*, required: bool = False) -> Callable[[_Function], _Function]:
    """Add `--config FILE` to a command."""
    text = "The configuration file." if required else "Run as a daemon configured by FILE."
    return click.option(
        "--config", "config_file", type=_FILE, metavar="FILE", required=required, help=text
    )


check_flag = click.option("--check", is_flag=True, help="Only check the configuration.")


def daemon_command(program: str) -> Callable[[_Function], click.Command]:
    """Make a command from a function of a configuration file; its docstring is the help."""

    def decorate(function: _Function) -> click.Command:
        settings = {"help_option_names": ["-h", "--help"]}
        epilog = f"{EXIT_CODES_UNOPENED}\n\n{COMPLETION}"
        command = click.command(program, context_settings=settings, epilog=epilog)
        version = version_flag(f"xkeymsg-{program}")
        return command(version(config_flag(required=True)(check_flag(function))))

    return decorate


def only_config(config_file: Path | None) -> Path:
    """Return the file of `--config` in a command that has other flags.

    Raises:
        UsageError: If other flags are given, or `--check` alone.
    """
    context = click.get_current_context()
    given = {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if config_file is None:
        raise click.UsageError("--check requires --config FILE")
    if given - {"config_file", "check"}:
        raise click.UsageError("--config FILE allows no other flag except --check")
    return config_file


def start(
    program: str,
    config_file: Path,
    load: Callable[[Path], _Config],
    run: Callable[[_Config], int],
    *,
    check: bool,
) -> int:
    """Run a daemon, or only check its configuration, and return the exit code."""
    try:
        config = load(config_file)
    except ConfigurationError as error:
        return say_faults(program, error)
    if check:
        say(program, f"{config_file} is valid")
        return 0
    return run(config)
