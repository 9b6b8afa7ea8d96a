"""How the server is started: options, environment and policy file become one set of settings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from edgeopt.autopilot.calling import NOT_HANDED_ON, server
from edgeopt.server.cli import app
from edgeopt.server.settings import BadSettings, default_workspace, read_policy, settings
from edgeopt.tools.workshop import Policy
from typer.main import get_command


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EDGEOPT_WORKSPACE", "EDGEOPT_ALLOW_ROOTS", "EDGEOPT_MAX_WAIT_S", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_policy_file_is_the_bar(tmp_path: Path):
    file = tmp_path / "policy.toml"
    file.write_text('max_tolerance = 0.05\nevidence = "point"\ndecisions = "terminal"\nlook_budget = 7\n')
    assert read_policy(file) == Policy(max_tolerance=0.05, evidence="point", decisions="terminal", look_budget=7)
    assert settings(policy=file).policy.max_tolerance == 0.05


def test_what_a_policy_file_leaves_out_is_the_default(tmp_path: Path):
    file = tmp_path / "policy.toml"
    file.write_text("look_budget = 3")
    assert read_policy(file) == Policy(look_budget=3)
    assert read_policy(None) == Policy(max_tolerance=0.02, evidence="proven", decisions="chat", look_budget=None)


def test_fixed_evaluations_have_paths_from_the_policys_folder(tmp_path: Path):
    folder = tmp_path / "rules"
    folder.mkdir()
    for name in ("test.npz", "adapt.py"):
        (folder / name).touch()
    file = folder / "policy.toml"
    file.write_text(
        '[[evaluations]]\ndataset_path = "test.npz"\nmetric = "top1"\nadapter = "adapt.py:first"\nmodels = ["../*.onnx"]\n'
        "preprocessing = { scale = 0.5 }\n"
    )
    (fixed,) = read_policy(file).evaluations
    assert fixed.evaluation.dataset_path == str(folder / "test.npz")
    assert fixed.evaluation.adapter == f"{folder / 'adapt.py'}:first"
    assert fixed.evaluation.preprocessing and fixed.evaluation.preprocessing.scale == 0.5
    assert fixed.models == (f"{tmp_path}/*.onnx",)


def test_a_fixed_evaluation_on_data_that_is_not_there_is_no_policy(tmp_path: Path):
    file = tmp_path / "policy.toml"
    file.write_text('[[evaluations]]\ndataset_path = "gone.npz"\nmetric = "top1"\n')
    with pytest.raises(BadSettings, match=r"gone\.npz, which does not exist"):
        read_policy(file)


@pytest.mark.parametrize(
    "text",
    [
        "max_tolerance = 1.5",
        "max_tolerance = -0.1",
        'evidence = "none"',
        "look_budget = 0",
        "max_tolerence = 0.1",
        "= 1",
        '[[evaluations]]\ndataset_path = "x"',
        '[[evaluations]]\ndataset_path = "x"\nmetric = "luck"',
    ],
)
def test_a_policy_that_says_nonsense_is_no_policy(tmp_path: Path, text: str):
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(BadSettings, match=r"policy\.toml cannot be used"):
        read_policy(file)


def test_roots_are_those_given_else_those_of_the_environment_else_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one, other, link = tmp_path / "one", tmp_path / "other", tmp_path / "link"
    one.mkdir()
    other.mkdir()
    link.symlink_to(other)
    assert settings().allow_roots == (tmp_path.resolve(),)
    monkeypatch.setenv("EDGEOPT_ALLOW_ROOTS", f"{one}:{link}")
    assert settings().allow_roots == (one.resolve(), other.resolve())
    assert settings(allow_root=[link]).allow_roots == (other.resolve(),)


def test_the_workspace_is_the_one_given_else_that_of_the_environment_else_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert settings().workspace == default_workspace().resolve()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert settings().workspace == (tmp_path / "data" / "edgeopt").resolve()
    monkeypatch.setenv("EDGEOPT_WORKSPACE", str(tmp_path / "elsewhere"))
    assert settings().workspace == (tmp_path / "elsewhere").resolve()
    assert settings(tmp_path / "here").workspace == (tmp_path / "here").resolve()
    assert not list(tmp_path.iterdir())


def test_limits_have_defaults_and_can_be_set(monkeypatch: pytest.MonkeyPatch):
    usual = settings()
    assert usual.job_memory_mb > 256
    assert (usual.job_minutes, usual.max_wait_s, usual.allow_pickle) == (120, 50, False)
    monkeypatch.setenv("EDGEOPT_MAX_WAIT_S", "7.5")
    unusual = settings(job_memory_mb=300, job_minutes=0.5, allow_pickle=True)
    assert (unusual.job_memory_mb, unusual.job_minutes, unusual.max_wait_s, unusual.allow_pickle) == (
        300,
        0.5,
        7.5,
        True,
    )


def test_user_code_is_pinned_by_its_hash(tmp_path: Path):
    code = tmp_path / "metric.py"
    code.write_text("def metric(): ...")
    pinned = settings(allow_user_code=[Path("metric.py")]).user_code
    assert pinned == {code.resolve(): hashlib.sha256(code.read_bytes()).hexdigest()}


def test_any_machine_is_a_generic_one_and_no_other_without_saying_so():
    assert settings(host_is="cpu-generic").host_is == "cpu-generic"
    assert settings().host_is is None
    with pytest.raises(BadSettings, match="unknown device"):
        settings(host_is="abacus")


# The environment

CLIENTS = Path(__file__).parents[2] / "docs" / "clients.md"
# The option's own name, its variable, what stands in it, and what the option then is.
VARIABLES: list[tuple[str, str, str, Any]] = [
    ("transport", "EDGEOPT_TRANSPORT", "http", "http"),
    ("port", "EDGEOPT_PORT", "8123", 8123),
    ("workspace", "EDGEOPT_WORKSPACE", "/a b", Path("/a b")),
    ("output_root", "EDGEOPT_OUTPUT_ROOTS", "/a b:/c", [Path("/a b"), Path("/c")]),
    ("host_is", "EDGEOPT_HOST_IS", "cpu-generic", "cpu-generic"),
    ("policy", "EDGEOPT_POLICY", "/policy.toml", Path("/policy.toml")),
    ("allow_user_code", "EDGEOPT_USER_CODE", "/a.py:/b.py", [Path("/a.py"), Path("/b.py")]),
    ("allow_pickle", "EDGEOPT_ALLOW_PICKLE", "1", True),
    ("job_memory", "EDGEOPT_JOB_MEMORY", "300", 300),
    ("job_minutes", "EDGEOPT_JOB_MINUTES", "0.5", 0.5),
    ("signing_key", "EDGEOPT_SIGNING_KEY", "/key", Path("/key")),
    ("token_file", "EDGEOPT_TOKEN_FILE", "/token", Path("/token")),
]


def served(*arguments: str) -> dict[str, Any]:
    """What `edgeopt serve` makes of these arguments and the environment."""
    serve: Any = get_command(app).commands["serve"]  # pyright: ignore[reportAttributeAccessIssue]
    return serve.make_context("serve", list(arguments)).params


def test_each_option_of_the_server_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    usual = served()
    assert set(usual) == {name for name, *_ in VARIABLES} | {"allow_root"}  # whose variable `settings` reads
    for _, variable, text, _ in VARIABLES:
        monkeypatch.setenv(variable, text)
    assert served() == {name: value for name, _, _, value in VARIABLES} | {"allow_root": ()}
    given = served("--port", "9", "--no-allow-pickle", "--allow-user-code", "/mine.py", "--output-root", "/mine")
    assert (given["port"], given["allow_pickle"]) == (9, False)
    assert (given["allow_user_code"], given["output_root"]) == ([Path("/mine.py")], [Path("/mine")])


def test_every_variable_is_in_the_table():
    table = CLIENTS.read_text(encoding="utf-8")
    for variable in ("EDGEOPT_ALLOW_ROOTS", "EDGEOPT_MAX_WAIT_S", *(variable for _, variable, *_ in VARIABLES)):
        assert f"`{variable}`" in table


def test_a_server_that_a_command_starts_has_no_leave_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    for variable in ("EDGEOPT_ALLOW_ROOTS", *(variable for _, variable, *_ in VARIABLES)):
        monkeypatch.setenv(variable, "1")
    environment = server(None, [Path("/models")]).env or {}
    limits = {"EDGEOPT_JOB_MEMORY", "EDGEOPT_JOB_MINUTES"}
    bar = {"EDGEOPT_POLICY", "EDGEOPT_HOST_IS", "EDGEOPT_SIGNING_KEY", "EDGEOPT_WORKSPACE"}
    assert {name for name in environment if name.startswith("EDGEOPT_")} == limits | bar
    assert NOT_HANDED_ON.isdisjoint(environment)
