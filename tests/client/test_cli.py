"""What `sat` promises whatever the registry holds: exit codes, sentences instead of traces, a quick start."""

import json
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import typer

from api.routes.recommend import ensemble_query
from client import joined
from client.cli import app
from client.errors import ClientError
from client.joined import join_commands, summary
from tests.client.conftest import Outcome, json_answer

NOWHERE = "http://127.0.0.1:1"
Sat = Callable[..., Outcome]

EVERY_READ = [
    ["models"],
    ["model", "a"],
    ["similar", "a"],
    ["pairs"],
    ["pair", "a", "b"],
    ["matrix"],
    ["clusters"],
    ["map"],
    ["importance"],
    ["recommend", "ensemble"],
    ["recommend", "teacher", "--student", "a"],
    ["jobs"],
    ["workers"],
    ["images", "list"],
    ["images", "download", "a"],
    ["comparisons"],
    ["webhooks", "deliveries", "1"],
    ["card", "a"],
    ["aliases", "list"],
    ["webhooks", "list"],
    ["audit"],
]
EVERY_COMMAND = [
    *EVERY_READ,
    ["watch"],
    ["rm", "a"],
    ["retry", "a"],
    ["restore", "a"],
    ["edit", "a", "--description", "b"],
    ["watch", "a"],
    ["watch", "--json"],
    ["aliases", "set", "b", "a"],
    ["aliases", "rm", "b"],
    ["webhooks", "add", "https://hooks.example.com/"],
    ["webhooks", "rm", "1"],
    ["register", "--name", "a", "--architecture", "resnet18", "--source", "zoo/a.pth"],
    ["register", "--name", "a", "--architecture", "resnet18", "--pretrained", "a1_in1k"],
]


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_an_unreachable_registry_is_exit_code_3(sat: Sat, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # the pauses between attempts
    ended = sat(*command, "--url", NOWHERE)
    assert ended.code == 3
    assert "sat serve" in ended.err
    assert "Traceback" not in ended.err + ended.out


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_a_refusal_is_exit_code_1(sat: Sat, loopback: Callable[..., Any], command: list[str]) -> None:
    server = loopback(json_answer(404, {"detail": "No model is called a.", "near": ["aa"]}))
    ended = sat(*command, "--url", server.url)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "sat: No model is called a. Near matches: aa. (status 404)\n"


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_every_command_knows_no_registry_without_an_address(sat: Sat, command: list[str]) -> None:
    ended = sat(*command)
    assert ended.code == 3
    assert "SAT_URL" in ended.err


@pytest.mark.parametrize(
    "command",
    [
        ["nonsense"],
        ["model"],
        ["similar", "a", "-k", "0"],
        ["models", "--url", "127.0.0.1:8000"],
        ["register", "missing.safetensors", "--name", "a", "--architecture", "resnet18"],
        ["register", "--name", "a", "--architecture", "resnet18", "--url", NOWHERE],
        ["register", "--pretrained", "x", "--architecture", "resnet18", "--url", NOWHERE],
        ["register", "--pretrained", "x", "--name", "a", "--architecture", "b", "--arg", "size", "--url", NOWHERE],
        ["register", "--pretrained", "x", "--name", "a", "--architecture", "b", "--mean", "0.1,x", "--url", NOWHERE],
        ["register", "--pretrained", "x", "--name", "a", "--architecture", "b", "--size", "32", "--url", NOWHERE],
        ["images", "import", "missing", "--name", "a", "--url", NOWHERE],
        ["images", "import", "missing", "--name", "a", "--parts", "1,2", "--url", NOWHERE],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(sat: Sat, command: list[str]) -> None:
    ended = sat(*command)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_ctrl_c_is_exit_code_130(loopback: Callable[..., Any]) -> None:
    # a proxy that does not reach its registry: the read is tried again, and again
    server = loopback((502, {}, b""))
    # what runs in the background of a shell ignores SIGINT, and so would its children
    command = ["env", "--default-signal=INT", sys.executable, "-m", "client", "models", "--url", server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reading:
        deadline = time.monotonic() + 60
        while len(server.asked) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        reading.send_signal(signal.SIGINT)
        _, err = reading.communicate(timeout=60)
    assert reading.returncode == 130
    assert "Traceback" not in err


def test_the_running_stack_is_found_by_what_it_wrote(
    sat: Sat, loopback: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = json_answer(200, {"items": [], "next": None, "total": 0})
    stack, named = loopback(empty), loopback(empty)
    (tmp_path / "stack.json").write_text(json.dumps({"url": stack.url, "pid": 1}))
    monkeypatch.setenv("SAT_HOME", str(tmp_path))
    assert sat("models").code == 0
    monkeypatch.setenv("SAT_URL", named.url)
    assert sat("models").code == 0
    assert sat("models", "--url", stack.url + "/").code == 0
    assert (len(stack.asked), len(named.asked)) == (2, 1)


def test_json_is_the_registrys_own_answer(sat: Sat, loopback: Callable[..., Any]) -> None:
    answer = {"model": "é", "items": [], "missing": 0, "next": None, "more": [1, None]}
    ended = sat("similar", "a", "--json", "--url", loopback(json_answer(200, answer)).url)
    assert ended.code == 0
    assert json.loads(ended.out) == answer


def test_what_is_registered_is_what_was_said(sat: Sat, loopback: Callable[..., Any], tmp_path: Path) -> None:
    described = tmp_path / "model.json"
    described.write_text(json.dumps({"name": "from-file", "license": "mit", "input": {"size": 8}}))
    classes = tmp_path / "classes.txt"
    classes.write_text("cat\n\ndog\n")
    answer = json_answer(202, {"name": "a", "state": "received", "failure": None, "progress": {"stage": "preparing"}})
    server = loopback(answer)
    options = ["--metadata", described, "--name", "a", "--architecture", "vit", "--classes", classes, "--mean", "0.5"]
    more = ["--std", "0.25", "--arg", "img_size=32", "--arg", "global_pool=avg", "--pretrained", "tag", "--tag", "t"]
    more += ["--weights", "ema", "--supersedes", "older"]
    assert sat("register", *options, *more, "--url", server.url).code == 0
    assert json.loads(server.bodies[0]) == {
        "name": "a",
        "architecture": "vit",
        "pretrained": "tag",
        "license": "mit",
        "classes": ["cat", "dog"],
        "model_args": {"img_size": 32, "global_pool": "avg"},
        "input": {"size": 8, "channels": 1, "mean": [0.5], "std": [0.25]},
        "tags": ["t"],
        "weights": "ema",
        "supersedes": "older",
    }


def test_a_matrix_is_written_in_the_format_that_was_asked_for(
    sat: Sat, loopback: Callable[..., Any], tmp_path: Path
) -> None:
    for options, file_format in (
        (["--format", "npz", "--to", tmp_path / "a"], "npz"),
        (["--to", tmp_path / "b.parquet"], "parquet"),
        (["--csv", tmp_path / "c"], "csv"),
    ):
        server = loopback((200, {}, b"content"))
        assert sat("matrix", *options, "--image-set", "digits", "--url", server.url).code == 0
        assert server.asked == [("GET", f"/matrix?format={file_format}&image_set=digits")]
        assert Path(options[-1]).read_bytes() == b"content"
    for options in (["--format", "xlsx"], ["--to", tmp_path / "d.txt"]):
        assert sat("matrix", *options, "--url", NOWHERE).code == 2


def test_a_key_that_anybody_can_read_on_the_way_is_warned_about(
    sat: Sat, loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAT_KEY", "sat_x")
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    server = loopback(json_answer(200, {"items": [], "next": None, "total": 0}))
    assert "https" not in sat("models", "--url", server.url).err
    warned = sat("models", "--url", "http://registry.invalid:1").err
    assert warned.count("https://") == 1
    assert "sat_x" not in warned
    assert "goes unencrypted" not in sat("models", "--url", "https://registry.invalid:1").err


def test_help_is_quick_and_loads_no_heavy_library() -> None:
    program = """
        import sys
        from client.cli import main
        try:
            main(["--help"])
        except SystemExit as ended:
            assert ended.code == 0
        heavy = {"torch", "timm", "sqlalchemy", "sklearn", "numpy", "PIL", "httpx", "registry", "sat_engine"}
        print("loaded:", sorted(heavy & sys.modules.keys()))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    # the process's own time: the machine may be busy with something else
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "loaded: []" in printed
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.5


def test_every_command_takes_url_and_json_and_explains_itself() -> None:
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]  # a group has commands
        for leaf in getattr(command, "commands", {name: command}).values():
            assert leaf.help, leaf.name
            if name not in {entry.name for entry in joined.found_commands()}:
                assert takes(leaf, "--url"), leaf.name
                assert takes(leaf, "--json"), leaf.name


@pytest.mark.parametrize("entry", list(joined.found_commands()), ids=lambda entry: entry.name)
def test_every_command_of_other_packages_takes_json(entry: EntryPoint) -> None:
    alone = typer.Typer()
    alone.command()(entry.load())
    assert takes(typer.main.get_command(alone), "--json")


def takes(command: Any, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)


def test_lists_as_json_are_whole(sat: Sat, loopback: Callable[..., Any], tmp_path: Path) -> None:
    first = {"items": [{"id": 1}], "next": "/jobs?cursor=1", "total": 2, "counts": {}, "estimate_seconds": None}
    last = first | {"items": [{"id": 2}], "next": None}
    pages = [json_answer(200, page) for page in (first, first, last)]
    ended = sat("jobs", "--json", "--url", loopback(*pages).url)
    assert [job["id"] for job in json.loads(ended.out)["items"]] == [1, 2]
    limited = sat("jobs", "--json", "--limit", "1", "--url", loopback(*pages).url)
    assert [job["id"] for job in json.loads(limited.out)["items"]] == [1]
    entries = [json_answer(200, {"items": [{"id": 1}] * 40, "next": after}) for after in ("/audit?c=1", None)]
    assert len(json.loads(sat("audit", "--json", "--url", loopback(*entries).url).out)["items"]) == 80


def test_what_is_written_to_a_file_is_told_as_json(sat: Sat, loopback: Callable[..., Any], tmp_path: Path) -> None:
    to = tmp_path / "matrix.csv"
    ended = sat("matrix", "--csv", to, "--json", "--url", loopback((200, {"Content-Type": "text/csv"}, b"a,b")).url)
    assert json.loads(ended.out) == {"file": str(to), "format": "csv", "bytes": 3}


def test_the_weight_of_a_blend_is_what_the_registry_says_it_is() -> None:
    group: Any = typer.main.get_command(app)
    options = group.commands["recommend"].commands["ensemble"].params
    (option,) = (each for each in options if each.name == "weight")
    (parameter,) = (each for each in signature(ensemble_query).parameters.values() if each.name == "weight")
    assert option.help.startswith("Of accuracy ")
    assert parameter.annotation.__metadata__[0].description.startswith("Of accuracy ")


PLUG_IN = '''
"""A command from elsewhere."""
import typer
{imports}

def greet(name: str, times: int = 1) -> None:
    """Greet somebody.

    More about greeting.
    """
    for _ in range(times):
        print(f"Hello, {{name}}")
    if times == 0:
        raise typer.Exit(4)
'''


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], typer.Typer]:
    """A function that writes a module with a command and returns an app that the command has joined."""

    def make(imports: str = "") -> typer.Typer:
        module = f"plug_in_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(PLUG_IN.format(imports=imports))
        monkeypatch.syspath_prepend(tmp_path)
        entry = EntryPoint("greet", f"{module}:greet", "sat.commands")
        monkeypatch.setattr(joined, "found_commands", lambda: [entry])
        assert summary(entry) == "Greet somebody."
        assert module not in sys.modules
        grown = typer.Typer(add_completion=False)
        grown.command("other")(lambda: None)
        join_commands(grown)
        return grown

    return make


def _run(grown: typer.Typer, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        grown(list(arguments))
    return int(ended.value.code or 0)


def test_a_joined_command_is_as_if_it_were_ours(
    plug_in: Callable[[], typer.Typer], capsys: pytest.CaptureFixture[str]
) -> None:
    grown = plug_in()
    assert _run(grown, "--help") == 0
    assert "Greet somebody." in capsys.readouterr().out
    assert _run(grown, "greet", "Ada", "--times", "2") == 0
    assert capsys.readouterr().out == "Hello, Ada\nHello, Ada\n"
    assert _run(grown, "greet", "Ada", "--times", "0") == 4
    assert _run(grown, "greet", "--help") == 0
    assert "More about greeting." in capsys.readouterr().out
    assert _run(grown, "greet", "--loud") == 2


def test_a_missing_dependency_says_what_to_install(plug_in: Callable[[str], typer.Typer]) -> None:
    with pytest.raises(ClientError, match=r"no_such_package.*pip install .sat-registry\[embedded\]"):
        plug_in("import no_such_package")(["greet", "Ada"])
