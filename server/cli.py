"""The command line. Heavy modules are imported by the commands that need them: `edgeopt serve` starts as fast as the SDK."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .. import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Optimize trained models for edge devices: measured, remembered, guarded.",
)

Workspace = Annotated[Path | None, typer.Option("--workspace", envvar="EDGEOPT_WORKSPACE", help="Sessions, variants, packages.")]  # fmt: skip
SessionId = Annotated[str, typer.Argument(help="The session's id (edgeopt sessions lists them).")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Key = Annotated[Path | None, typer.Option("--signing-key", envvar="EDGEOPT_SIGNING_KEY", help="Histories, decisions and package digests are signed with it (Ed25519, PEM).")]  # fmt: skip


def fail(message: str, code: int = 1) -> NoReturn:
    """Ends the command with a message for the person who gave it."""
    print(f"edgeopt: {message}", file=sys.stderr)
    raise typer.Exit(code)


@app.command()
def serve(
    transport: Annotated[str, typer.Option(envvar="EDGEOPT_TRANSPORT", help="stdio or http")] = "stdio",
    port: Annotated[int, typer.Option(envvar="EDGEOPT_PORT", help="http: the port on 127.0.0.1", min=1, max=65535)] = 8000,
    workspace: Workspace = None,
    allow_root: Annotated[list[Path] | None, typer.Option(help="Models and data may be read below this folder; repeatable. Else those of EDGEOPT_ALLOW_ROOTS (with : between them), else the current folder.")] = None,
    output_root: Annotated[list[Path] | None, typer.Option(envvar="EDGEOPT_OUTPUT_ROOTS", help="Packages may also be written below this folder; repeatable.")] = None,
    host_is: Annotated[str | None, typer.Option(envvar="EDGEOPT_HOST_IS", help="This machine is that target device: its measurements are target measurements.")] = None,
    policy: Annotated[Path | None, typer.Option(envvar="EDGEOPT_POLICY", help="TOML: the bar that callers cannot loosen (max_tolerance, evidence, decisions, look_budget, evaluations).")] = None,
    allow_user_code: Annotated[list[Path] | None, typer.Option(envvar="EDGEOPT_USER_CODE", help="This Python file (loader, adapter, metric) may run in sandboxed workers, as it is now; repeatable.")] = None,
    allow_pickle: Annotated[bool, typer.Option(envvar="EDGEOPT_ALLOW_PICKLE", help="Pickle-based model files may be opened in sandboxed workers.")] = False,
    job_memory: Annotated[int | None, typer.Option("--job-memory", envvar="EDGEOPT_JOB_MEMORY", min=64, help="MB that one job may use; three quarters of the machine's by default.")] = None,
    job_minutes: Annotated[float, typer.Option("--job-minutes", envvar="EDGEOPT_JOB_MINUTES", min=0.1, help="Minutes that one job may take.")] = 120,
    signing_key: Key = None,
    token_file: Annotated[Path | None, typer.Option(envvar="EDGEOPT_TOKEN_FILE", help="http: require this bearer token.")] = None,
) -> None:  # fmt: skip
    """Serve MCP: over stdio (what hosts launch) or Streamable HTTP on 127.0.0.1 at /mcp."""
    from ..state.store import StoreUnusable
    from .settings import BadSettings, check_key_place, settings
    from .transports import serve_http, serve_stdio

    if transport not in ("stdio", "http"):
        fail(f"--transport {transport}: stdio or http.", 2)
    try:
        chosen = settings(
            workspace, allow_root, output_root, host_is, policy, allow_user_code, allow_pickle, job_memory, job_minutes,
            signing_key,
        )  # fmt: skip
        if signing_key:
            check_key_place(chosen, signing_key)
        if transport == "stdio":
            serve_stdio(chosen)
        else:
            serve_http(chosen, port, token_file)
    except (BadSettings, StoreUnusable, OSError) as error:
        fail(str(error), 2)


@app.command()
def optimize(
    model: Annotated[Path | None, typer.Argument(help="The trained model.")] = None,
    data: Annotated[Path | None, typer.Option(help="The labelled evaluation set.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Samples to calibrate INT8 on, none of them from the evaluation set.")] = None,
    training: Annotated[Path | None, typer.Option(help="Labelled samples to train a PyTorch model on (pruning, training for INT8), none of them from the evaluation set.")] = None,
    target: Annotated[str, typer.Option(help="jetson-orin-nano, raspberry-pi-5, raspberry-pi-4, cpu-generic")] = "cpu-generic",
    metric: Annotated[str, typer.Option(help="top1, top5, f1_macro, auc, spearman, rmse, mae, map, map50, custom")] = "top1",
    preprocessing: Annotated[str | None, typer.Option(help="As in training: JSON, or a file that holds it.")] = None,
    decoding: Annotated[str | None, typer.Option(help="map, map50: how the outputs are boxes; JSON, or a file that holds it.")] = None,
    tolerance: Annotated[float, typer.Option(help="The relative loss that needs no person.", min=0, max=1)] = 0.02,
    latency_ms: Annotated[float | None, typer.Option("--latency-ms", help="Stop when a variant is as fast as this.")] = None,
    smaller: Annotated[bool, typer.Option("--smaller", help="Keep the smallest that passes, not the fastest.")] = False,
    threads: Annotated[int | None, typer.Option(help="Measure and compare everything on as many threads; 1 by default.", min=1, max=256)] = None,
    budget: Annotated[float | None, typer.Option(help="Minutes after which nothing new is tried.", min=0)] = None,
    adapter: Annotated[str | None, typer.Option(help="FILE:FUNCTION between the outputs and the metric; it may run.")] = None,
    metric_code: Annotated[str | None, typer.Option("--metric-code", help="FILE:FUNCTION, a metric of your own; it may run.")] = None,
    loader: Annotated[str | None, typer.Option(help="FILE:FUNCTION that makes the module of a state dict; it may run.")] = None,
    allow_pickle: Annotated[bool, typer.Option(help="The model may be a pickle.")] = False,
    allow_root: Annotated[list[Path] | None, typer.Option(help="Data may also be read below this folder; repeatable.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where the package, the table and the picture go; in the workspace by default.")] = None,
    workspace: Workspace = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this session; needs no MODEL and no --data.")] = None,
) -> None:  # fmt: skip
    """Optimize a model from end to end, asking on the terminal where a person must decide.

    Ends with 0 where something better was packaged, 1 where nothing is better than the original, 2 where an input was refused
    or the work could not be done, 130 where it was interrupted.
    """
    from ..autopilot.command import BadCommand, Wish, run
    from ..tools.reporting import put_own

    wish = Wish(
        model, data, calibration, training, target, metric, preprocessing, decoding, tolerance, latency_ms, smaller, threads,
        budget, adapter, metric_code, loader, allow_pickle, tuple(allow_root or ()), output_dir, workspace, resume,
    )  # fmt: skip
    try:
        raise typer.Exit(run(wish, put_own))
    except BadCommand as error:
        fail(str(error), 2)


@app.command()
def decide(session: SessionId, workspace: Workspace = None, signing_key: Key = None) -> None:
    """Decide, as a person, on a variant outside the tolerance (needs a terminal)."""
    from .terminal import decide_on_terminal
    from .workplace import open_workshop

    decide_on_terminal(open_workshop(workspace, signing_key), session)


@app.command()
def sessions(workspace: Workspace = None, signing_key: Key = None) -> None:
    """List the sessions of a workspace, newest first."""
    from .terminal import print_sessions
    from .workplace import open_workshop

    print_sessions(open_workshop(workspace, signing_key))


@app.command()
def report(
    session: SessionId,
    html: Annotated[Path | None, typer.Option(help="Write one page with pictures to this file instead.")] = None,
    workspace: Workspace = None,
    signing_key: Key = None,
) -> None:
    """Print a session's summary report and trade-off table, or write the page with the pictures."""
    from .terminal import print_report
    from .workplace import open_workshop

    print_report(open_workshop(workspace, signing_key), session, html)


@app.command()
def clean(workspace: Workspace = None, yes: Yes = False, signing_key: Key = None) -> None:
    """Remove what failed and interrupted jobs left behind. Variants, packages and histories stay."""
    from .cleaning import clean_workspace
    from .workplace import open_workshop

    clean_workspace(open_workshop(workspace, signing_key), yes=yes)


@app.command()
def key(
    file: Annotated[Path, typer.Argument(help="The new file of the secret; the public key goes beside it.")],
) -> None:
    """Make a signing key, or say which one is in a file."""
    from .signing import show_key

    show_key(file)


@app.command()
def sign(workspace: Workspace = None, yes: Yes = False, signing_key: Key = None) -> None:
    """Sign every history as it is now: where a key comes into force, replaces another, or a person trusts an edited one."""
    from .signing import sign_histories
    from .workplace import open_workshop

    if signing_key is None:
        fail("name the key with --signing-key FILE; `edgeopt key FILE` makes one.", 2)
    sign_histories(open_workshop(workspace, signing_key), yes=yes)


@app.command()
def verify(
    package: Annotated[Path, typer.Argument(help="The package's folder.")],
    key: Annotated[Path | None, typer.Option(help="The public key (PEM) that must have signed it.")] = None,
) -> None:
    """Check a package: its checksums, its signature, and that its script reproduces the recorded outputs."""
    from rich.console import Console

    from ..autopilot.live import Waiting
    from .verifying import verify_package

    try:
        with Waiting(Console(stderr=True), "checking the package, running its script"):
            verified, words = verify_package(package, key)
    except ValueError as error:
        fail(str(error), 2)
    print(f"{package}: {words if verified else 'NOT VERIFIED: ' + words}")
    raise typer.Exit(0 if verified else 1)


@app.command()
def doctor(workspace: Workspace = None, signing_key: Key = None) -> None:
    """Say what works on this machine, and what to install."""
    from .doctor import examine

    raise typer.Exit(examine(workspace, signing_key))


@app.command("check-claims")
def check_claims(
    text: Annotated[str, typer.Argument(help="The text, a file that holds it, or - for standard input.")],
    session: Annotated[str, typer.Option("--session", "-s", help="The session that the text is about.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the marks as JSON.")] = False,
    workspace: Workspace = None,
    signing_key: Key = None,
) -> None:
    """Mark each number in a text as measured, stale, host-only or invented; ends with 1 where one is of the last two."""
    from .claims import check_claims as check
    from .claims import read_text
    from .workplace import open_workshop

    raise typer.Exit(check(open_workshop(workspace, signing_key), session, read_text(text), as_json=as_json))


@app.command("eval")
def evaluate(
    scenario: Annotated[list[str] | None, typer.Argument(help="The scenarios to play; all by default.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="The same as an option; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Play the scripted agents, honest and attacking, on servers of their own; ends with 1 where a guardrail did not hold."""
    from ..evals.runner import run_evals

    try:
        raise typer.Exit(run_evals((*(scenario or ()), *(only or ())), as_json=as_json))
    except ValueError as error:
        fail(str(error), 2)


toolchain = typer.Typer(
    no_args_is_help=True, help="Converters with packages of their own, each in an environment apart."
)
app.add_typer(toolchain, name="toolchain")
ToolchainName = Annotated[str, typer.Argument(help="litert-torch (PyTorch to TFLite) or onnx2tf (ONNX to TFLite).")]


@toolchain.command("install")
def toolchain_install(name: ToolchainName) -> None:
    """Install a toolchain: exactly the locked versions, below the user's data folder or EDGEOPT_TOOLCHAINS."""
    from .toolchains import install_toolchain

    install_toolchain(name)


@toolchain.command("list")
def toolchain_list() -> None:
    """List the toolchains, and which are installed."""
    from .toolchains import print_toolchains

    print_toolchains()


@toolchain.command("remove")
def toolchain_remove(name: ToolchainName) -> None:
    """Remove an installed toolchain."""
    from .toolchains import remove_toolchain

    remove_toolchain(name)


@app.command()
def demo(
    workspace: Annotated[Path | None, typer.Option(help="Where to put the demo's session; a new folder by default.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the page with the pictures to this file.")] = None,
) -> None:  # fmt: skip
    """Run the whole guarded pipeline over MCP on a bundled real model: no network, no torch."""
    from .demo.run import run_demo

    raise typer.Exit(run_demo(workspace, report))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)
