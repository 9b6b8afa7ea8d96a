"""`edgeopt optimize`: a server of its own as a child, the policy as its client, the screen between them and a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, MCPError
from mcp.types import Implementation

from .. import __version__
from ..contract.places import is_the_originals
from ..drawing.pareto import as_text
from ..drawing.scatter import as_svg
from .calling import finish, server
from .driver import Ended, drive, recorded
from .history import History
from .person import Person, has_terminal
from .policy import Goal
from .screen import Screen, remark, show_refusal, show_text

PACKAGED, NOTHING_BETTER, NOT_DONE, INTERRUPTED = 0, 1, 2, 130
ME = Implementation(name="edgeopt optimize", version=__version__)
# What a session keeps from its opening, of the fields of `Wish`.
FIXED = (
    *("model", "data", "calibration", "target", "metric", "preprocessing", "decoding", "tolerance", "latency_ms"),
    *("training", "adapter", "metric_code", "loader"),
)
# Writes a text to a file, which it replaces only where it is one of ours; OSError where it cannot.
Write = Callable[[Path, str], Path]


class BadCommand(Exception):
    """The command cannot be carried out as it was given; the message says what to change."""


@dataclass(frozen=True)
class Wish:
    """What the command line asks for, as it was typed."""

    model: Path | None = None
    data: Path | None = None
    calibration: Path | None = None
    training: Path | None = None
    target: str = "cpu-generic"
    metric: str = "top1"
    preprocessing: str | None = None
    decoding: str | None = None
    tolerance: float = 0.02
    latency_ms: float | None = None
    smaller: bool = False
    threads: int | None = None
    budget: float | None = None
    adapter: str | None = None
    metric_code: str | None = None
    loader: str | None = None
    allow_pickle: bool = False
    allow_root: tuple[Path, ...] = ()
    output_dir: Path | None = None
    workspace: Path | None = None
    resume: str | None = None

    @property
    def goal(self) -> Goal:
        return Goal(
            budget_s=self.budget * 60 if self.budget is not None else None,
            smaller=self.smaller,
            threads=self.threads,
            person=has_terminal(),
            output_dir=str(self.output_dir.resolve()) if self.output_dir else None,
        )


def run(wish: Wish, write: Write) -> int:
    """Carries the command out; the exit code. `write` puts the pictures and tables into --output-dir.

    Raises:
        BadCommand: before anything was done, or when the server could not go on.
    """
    if wish.resume and (ignored := [name for name in FIXED if getattr(wish, name) != getattr(Wish(), name)]):
        options = ", ".join(name.replace("_", "-") for name in ignored)
        raise BadCommand(f"--resume goes on with the session as it was opened: leave out {options}.")
    if wish.resume is None and (wish.model is None or wish.data is None):
        raise BadCommand(
            "name the model and its evaluation set (edgeopt optimize MODEL --data DATA), or --resume SESSION."
        )
    flight = _Flight(wish, write)
    try:
        return anyio.run(flight.fly)
    except KeyboardInterrupt:
        flight.screen.pause()
        flight.screen.say(f"Interrupted. {flight.way_on('What was running goes on and is recorded. ')}", "yellow")
        return INTERRUPTED
    except (BadCommand, MCPError, OSError, BaseExceptionGroup) as error:
        flight.screen.pause()
        cause = _cause(error)
        if isinstance(cause, BadCommand):
            raise cause from error
        if not isinstance(cause, (MCPError, OSError)):
            raise
        raise BadCommand(f"the server could not go on: {cause}. {flight.way_on()}") from error


def _cause(error: BaseException) -> BaseException:
    """What a task group has wrapped."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Flight:
    """One run of the command."""

    def __init__(self, wish: Wish, write: Write) -> None:
        self.wish = wish
        self.write = write
        self.goal = wish.goal
        self.screen = Screen(self.goal)
        self.session: str | None = wish.resume

    async def fly(self) -> int:
        wish = self.wish
        if wish.resume:
            paths, codes = await self._of_the_session(wish.resume)
        else:
            paths = _existing(wish.model, wish.data, wish.calibration, wish.training)
            codes = tuple(_file_of(code) for code in (wish.adapter, wish.metric_code, wish.loader) if code)
        if self.goal.output_dir:
            _check_place(Path(self.goal.output_dir), original=paths[0])
        options = [part for code in codes for part in ("--allow-user-code", code)]
        options += ["--output-root", self.goal.output_dir] if self.goal.output_dir else []
        options += ["--allow-pickle"] if wish.allow_pickle else []
        child = server(wish.workspace, roots([*paths, *wish.allow_root]), *options)
        async with Client(child, elicitation_callback=self._person, client_info=ME) as client:
            if self.session is None:
                self.session = await self._open(client)
            if self.session is None:
                return NOT_DONE
            ended = await drive(client, self.session, self.goal, self.screen)
        return self._land(ended)

    @property
    def _person(self) -> Person | None:
        """Nobody, where there is no terminal: a question that nobody saw must not be answered with a no, which is final."""
        return Person(self.screen.console, self.screen.pause, self.screen.start) if self.goal.person else None

    async def _of_the_session(self, session: str) -> tuple[list[Path], tuple[str, ...]]:
        """The files that a session works with. This first server is asked for nothing else."""
        async with Client(server(self.wish.workspace, ())) as client:
            asked = await finish(client, "get_state", {"session_id": session})
            if not asked.ok:
                raise BadCommand(f"{asked.problem} (--workspace says where sessions are)")
            history = await recorded(client, session)
        measured = history.baseline
        if measured and self.wish.threads not in (None, measured.threads):
            raise BadCommand(
                f"the baseline of this session was measured with threads={measured.threads}, and all that is compared with it"
                " is, too: leave out --threads, or open another session."
            )
        return _existing(*map(Path, history.files)), history.code

    async def _open(self, client: Client) -> str | None:
        """Opens the session, and says what the pre-flight found; None where it was refused, which has been shown."""
        screen, wish = self.screen, self.wish
        screen.say(f"Opening {wish.model} for {wish.target} ...", "dim")
        answer = await finish(client, "open_session", opening(wish))
        if not answer.ok:
            screen.pause()
            if refusal := answer.data.get("refusal"):
                show_refusal(screen.console, refusal)
            else:
                show_text(screen.console, answer.log)
            return None
        for item in answer.data["preflight"]:
            if not item["ok"]:
                screen.say(
                    f"  not there{'' if item['required'] else ' (optional)'}: {item['item']}: {item['detail']}", "dim"
                )
        if warning := answer.data.get("message"):
            screen.say(f"  {warning}", "yellow")
        session: str = answer.data["session_id"]
        screen.say(f"Session {session}")
        return session

    def _land(self, ended: Ended) -> int:
        """The end: the server's table, the picture, why it ended, where the package is."""
        screen, history = self.screen, ended.history
        screen.pause()
        if ended.report:
            screen.say("")
            show_text(screen.console, ended.report)
        if history.baseline:
            self._picture(history, ended)
        screen.say("")
        screen.say(ended.stop.because)
        if ended.problem:
            screen.say(f"The newest refusal or failure: {ended.problem}", "yellow")
        for variant in ended.stop.waiting:
            asking = f"A person may keep it: {command('decide', self.session, self.wish)}"
            screen.say(
                f"Faster, but not proven within the tolerance: {remark(history.trials[variant])}. {asking}", "yellow"
            )
        if ended.packaged:
            package = history.packages[ended.packaged]
            screen.say(f"The package of {ended.packaged}: {package.path}", "bold")
            screen.say(f"Check it anywhere: edgeopt verify {package.path}")
            return PACKAGED
        if history.baseline is None or ended.unfinished:
            screen.say(f"It could not be finished. {self.way_on()}", "yellow")
            return NOT_DONE
        screen.say("Nothing better than the original was found; the original stands.", "bold")
        return NOTHING_BETTER

    def _picture(self, history: History, ended: Ended) -> None:
        shown = history.picture()
        self.screen.say("")
        self.screen.say(as_text(shown, min(72, self.screen.console.width - 24)))
        self.screen.say("")
        pages = [Path(written) for written in ended.report_files if written.endswith(".html")]
        place = Path(self.goal.output_dir) if self.goal.output_dir else pages[0].parent if pages else None
        if place is None:
            return
        self._put("The picture", place / f"{history.model_name}-pareto.svg", as_svg(shown))
        if self.goal.output_dir and ended.report:
            self._put("The table", place / f"{history.model_name}-tradeoff.md", ended.report)
        for page in pages:
            if self.goal.output_dir:
                self._put(
                    "The report, with pictures", place / f"{history.model_name}-report.html", page.read_text("utf-8")
                )
            else:
                self.screen.say(f"The report, with pictures: {page}")

    def _put(self, what: str, file: Path, text: str) -> None:
        """Writes what people look at. Where that fails nothing is lost: the session has it, and the package is there."""
        try:
            self.screen.say(f"{what}: {self.write(file, text)}")
        except OSError as error:
            way_out = "Move what is in the way, or name another --output-dir with --resume"
            self.screen.say(f"{what} was not written ({error}). {way_out}.", "yellow")

    def way_on(self, before: str = "") -> str:
        """How to go on, where there is a session."""
        if self.session is None:
            return "Nothing was opened."
        threads = f" --threads {self.goal.threads}" if self.goal.threads else ""
        return f"{before}Go on with: {command('optimize --resume', self.session, self.wish)}{threads}"


def opening(wish: Wish) -> dict[str, Any]:
    """The arguments of open_session.

    Raises:
        BadCommand: preprocessing or decoding is no JSON object.
    """
    given: dict[str, Any] = {
        "dataset_path": str(wish.data.resolve()) if wish.data else None,
        "metric": wish.metric,
        "preprocessing": _json("--preprocessing", wish.preprocessing),
        "decoding": _json("--decoding", wish.decoding),
        "adapter": _absolute(wish.adapter),
        "metric_code": _absolute(wish.metric_code),
    }
    arguments: dict[str, Any] = {
        "model_path": str(wish.model.resolve()) if wish.model else None,
        "target_device": wish.target,
        "evaluation": {name: value for name, value in given.items() if value is not None},
        "calibration_path": str(wish.calibration.resolve()) if wish.calibration else None,
        "training_path": str(wish.training.resolve()) if wish.training else None,
        "accuracy_tolerance": wish.tolerance,
        "latency_target_ms": wish.latency_ms,
        "loader": _absolute(wish.loader),
    }
    return {name: value for name, value in arguments.items() if value is not None}


def roots(paths: Iterable[Path]) -> list[Path]:
    """The folders of these files, each once: what the server may read below."""
    return list(dict.fromkeys(path if path.is_dir() else path.parent for path in paths))


def command(name: str, session: str | None, wish: Wish) -> str:
    """A command that a person can paste."""
    workspace = f" --workspace {wish.workspace}" if wish.workspace else ""
    return f"edgeopt {name} {session}{workspace}"


def _existing(*given: Path | None) -> list[Path]:
    found = [path.resolve() for path in given if path is not None]
    for path in found:
        if not path.exists():
            raise BadCommand(f"there is no {path}.")
    return found


def _check_place(place: Path, original: Path) -> None:
    """BadCommand where nothing may be written to `place`: the server judges packages alike, but pictures are written here."""
    if is_the_originals(place, original):
        raise BadCommand(
            f"--output-dir {place} is, lies in or holds the original {original}, beside which nothing is written: name a"
            f" folder of its own, such as {original.parent / 'out'}."
        )
    if place.exists() and not place.is_dir():
        raise BadCommand(f"--output-dir {place} is no folder: name a new one.")


def _file_of(code: str) -> str:
    """The file of FILE:FUNCTION."""
    file = Path(code.rpartition(":")[0] or code).resolve()
    if not file.is_file():
        raise BadCommand(f"{code}: name a function of a file as FILE:FUNCTION.")
    return str(file)


def _absolute(code: str | None) -> str | None:
    return f"{_file_of(code)}:{code.rpartition(':')[2]}" if code else None


def _json(option: str, given: str | None) -> dict[str, Any] | None:
    if given is None:
        return None
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text(encoding="utf-8")
        parsed = json.loads(text)
    except (OSError, ValueError) as error:
        raise BadCommand(f"{option} {given}: {error}. Give a JSON object, or a file that holds one.") from error
    if not isinstance(parsed, dict):
        raise BadCommand(f"{option}: give a JSON object.")
    return parsed
