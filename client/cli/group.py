"""The `callboard` command and the table of its commands, each found by name and loaded when it is used."""

import os
from importlib import import_module

import click

_COMMANDS = {
    "serve": ("local", "Run a server.", "serve"),
    "demo": ("local", "Run the example: a server, a worker, one order, every event as it happens.", "demo"),
    "publish": ("publishing", "Publish definitions from files; several are one change.", "publish"),
    "validate": ("publishing", "Check definitions in files; nothing changes.", "validate"),
    "retract": ("definitions", "Take a published version back; what runs goes on.", "retract"),
    "revert": ("publishing", "Publish an old version's content as the next version.", "revert"),
    "delete": ("definitions", "Delete a definition, or one version of it.", "delete"),
    "export": ("publishing", "Write published definitions, or an execution, down for import.", "export_definitions"),
    "import": ("publishing", "Take in what was exported: definitions, or an execution.", "import_definitions"),
    "definitions": ("definitions", "List definitions, or the versions or the history of one.", "definitions"),
    "triggers": ("triggers", "List triggers with their next firings; pause, resume or fire one.", "triggers"),
    "start": ("executions", "Start an execution.", "start"),
    "get": ("executions", "Show an execution.", "get"),
    "why": ("why", "Say what an execution is waiting for.", "why"),
    "list": ("executions", "List executions.", "list_executions"),
    "stuck": ("executions", "List executions in which nothing has happened for a while.", "stuck"),
    "submit": ("events", "Hand an event to an execution; answered when it is processed.", "submit"),
    "enqueue": ("events", "Hand an event to an execution; answered when it is accepted.", "enqueue"),
    "emit": ("events", "Publish an event for whoever listens.", "emit"),
    "history": ("events", "List the events of an execution.", "history"),
    "watch": ("events", "Print the events of an execution, or of all, as they happen.", "watch"),
    "replay": ("history_commands", "Rebuild an execution from its events, up to any of them.", "replay"),
    "diff": ("history_commands", "Show what differs between two moments, or two executions.", "diff"),
    "verify": ("history_commands", "Check stored histories; exit code 1 where something is found.", "verify"),
    "cancel": ("control", "Cancel an execution: what was done is undone.", "cancel"),
    "terminate": ("control", "End an execution at once; nothing is undone.", "terminate"),
    "resolve": ("control", "Decide about a step that cannot go on by itself.", "resolve"),
    "fork": ("forking", "Start an execution as another one was at some moment.", "fork"),
    "subscriptions": (
        "subscriptions",
        "List durable subscriptions; make, pull, acknowledge or delete one.",
        "subscriptions",
    ),
    "prune": ("retention", "Delete ended executions, with their histories.", "prune"),
    "erase": ("retention", "Erase the sensitive values of an ended execution.", "erase"),
    "jobs": ("jobs", "List the work in the background that calls began.", "jobs"),
    "dead-letters": ("control", "List what was accepted and could not be processed.", "dead_letters"),
    "backup": ("backup", "Copy the whole store to a file, while the server goes on.", "backup"),
    "restore": ("local", "Make a data directory of a backup.", "restore"),
    "doctor": ("local", "Examine a data directory; exit code 1 where something is wrong.", "doctor"),
    "queues": ("workers", "List the queues of operations.", "queues"),
    "workers": ("workers", "List the workers that are connected.", "workers"),
    "worker": ("workers", "Run a worker from a module with an Operations registry.", "worker"),
}
"""Name -> module, one line for the help, and the attribute that is the command (of `local`: the name at the door)."""


class LazyGroup(click.Group):
    """A group whose commands are imported by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, help_line, attribute = _COMMANDS[cmd_name]
        if module == "local":
            return local_command(attribute)
        command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
        command.help = command.help or help_line
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line, _) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with only the names at hand for what was meant by an unknown one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            if ctx.resilient_parsing:
                raise
            raise click.UsageError(f"there is no command {args[0]!r}; see `callboard --help`", ctx) from None


def local_command(name: str) -> click.Command:
    """A command that runs in this process. This is the one door from the client to the server's package."""
    # Inside a function: the client works without the server's modules, and starts quickly without loading them.
    from callboard.server import commands  # noqa: PLC0415, TID251 - the lazy door

    command: click.Command = getattr(commands, f"{name}_command")
    return command


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version  # noqa: PLC0415 - only for this flag

    click.echo(f"callboard {version('callboard')}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--address", "-a", metavar="HOST:PORT", help="The server; else CALLBOARD_ADDRESS [127.0.0.1:7519].")
@click.option("--tenant", "-t", metavar="NAME", help="The tenant; else CALLBOARD_TENANT [default].")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def main(ctx: click.Context, address: str | None, tenant: str | None) -> None:
    """Durable workflows: publish definitions, start executions, see and steer them.

    Exit codes: 0 done, 1 refused or a check found something, 2 wrong usage, 3 server not reachable,
    4 ended but not COMPLETED (with --wait), 5 still running (with --wait).
    """
    # grpc's own log would mix with what the commands say; what went wrong is in their errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    ctx.obj = {"address": address, "tenant": tenant}
