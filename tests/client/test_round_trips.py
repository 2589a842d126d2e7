"""Every command that needs no worker, against the real api over a real database.

The tests of this module follow one another on one registry: what one imports, the next reads.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from client.errors import ConflictError, NotFoundError
from client.registry import Registry
from tests.client.conftest import Outcome

Sat = Callable[..., Outcome]
SIDE = 16
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (40, SIDE, SIDE), dtype=np.uint8)
LABELS = np.repeat(np.arange(2), 20)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of two classes, as PNG files and as an .npz beside them."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        path = folder / "images" / ("cat", "dog")[label] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    np.savez(folder / "images.npz", images=IMAGES, labels=LABELS, classes=np.array(["cat", "dog"]))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint: without a worker nobody looks into its tensors."""
    path = tmp_path_factory.mktemp("weights") / "a.safetensors"
    save_file({"weight": RANDOM.normal(size=(300, 400)).astype(np.float32)}, path)
    return path


@pytest.fixture
def imported(sat: Sat, real_url: str, pictures: Path) -> str:
    """The address of the api, with the image set `pets` on it."""
    options = ["--name", "pets", "--side", SIDE, "--grey", "--parts", "30,5,5", "--prefix", "10", "--url", real_url]
    ended = sat("images", "import", pictures / "images", *options)
    assert ended.code == 0, ended.err
    return real_url


def test_importing_again_changes_nothing(sat: Sat, imported: str, pictures: Path) -> None:
    options = ["--name", "pets", "--side", SIDE, "--grey", "--parts", "30,5,5", "--prefix", "10", "--json"]
    again = json.loads(sat("images", "import", pictures / "images", *options, "--url", imported).out)
    # the .npz of the same squares is the same image set
    third = json.loads(sat("images", "import", pictures / "images.npz", *options, "--url", imported).out)
    assert again["image_set"] == third["image_set"]
    assert again["image_set"]["task"]["classes"] == ["cat", "dog"]
    assert again["image_set"]["parts"] == {"attack": 30, "select": 5, "report": 5}
    assert (again["image_set"]["prefix"], again["image_set"]["side"], again["image_set"]["channels"]) == (10, SIDE, 1)
    assert (again["comparison"]["state"], again["comparison"]["default"]) == ("measuring", True)


def test_other_images_under_the_same_name_are_refused(sat: Sat, imported: str, pictures: Path) -> None:
    ended = sat("images", "import", pictures / "images", "--name", "pets", "--side", SIDE, "--url", imported)
    assert ended.code == 1
    assert "pets" in ended.err


def test_a_paused_comparison_begins_when_imported_again(sat: Sat, imported: str, pictures: Path) -> None:
    command = ["images", "import", pictures / "images", "--name", "paused", "--side", 8, "--url", imported, "--json"]
    paused = json.loads(sat(*command, "--paused").out)["comparison"]
    assert (paused["state"], paused["default"]) == ("paused", False)
    begun = json.loads(sat(*command, "--default").out)["comparison"]
    assert (begun["state"], begun["default"]) == ("measuring", True)
    with Registry(imported) as registry:
        registry.compare("pets", "pgd", state="measuring", default=True)
        assert [one["name"] for one in registry.comparisons() if one["default"]] == ["pets/pgd"]


def test_the_image_sets_come_back(sat: Sat, imported: str, tmp_path: Path) -> None:
    ended = sat("images", "list", "--url", imported)
    assert ended.code == 0
    assert "pets" in ended.out
    with Registry(imported) as registry:
        content = load_file(registry.image_set_content("pets", tmp_path / "pets.safetensors"))
        np.testing.assert_array_equal(content["images"], IMAGES[..., None])
        np.testing.assert_array_equal(content["labels"], LABELS)
        assert registry.image_set("pets")["name"] == "pets"
        with pytest.raises(NotFoundError):
            registry.image_set("nowhere")


def test_a_protocol_is_created_once(imported: str) -> None:
    gentle = {"name": "gentle", "attack": "pgd", "epsilon": "1/255", "step_size": "1/255", "steps": 2}
    with Registry(imported) as registry:
        created = registry.create_protocol(gentle)
        assert registry.create_protocol(gentle)["digest"] == created["digest"]
        with pytest.raises(ConflictError, match="gentle"):
            registry.create_protocol({**gentle, "steps": 3})
        assert {"pgd", "pgd-paper", "gentle"} <= {protocol["name"] for protocol in registry.protocols()}


def register(sat: Sat, url: str, weights: Path, name: str, *more: object) -> Outcome:
    shape = ["--architecture", "test_resnet", "--arg", "num_classes=2", "--arg", "in_chans=1", "--task", "pets"]
    taken = ["--size", 32, "--mean", "0.5", "--std", "0.5"]
    return sat("register", weights, "--name", name, *shape, *taken, *more, "--url", url)


def test_a_model_is_registered_listed_shown_and_deleted(sat: Sat, imported: str, weights: Path, tmp_path: Path) -> None:
    ended = register(sat, imported, weights, "net-a", "--tag", "first")
    assert ended.code == 0, ended.err
    assert "net-a is received" in ended.out
    assert register(sat, imported, weights, "net-a", "--tag", "first").code == 0  # the same again is harmless
    assert "net-a" in sat("models", "--tag", "first", "--url", imported).out
    assert "net-a" not in sat("models", "--tag", "second", "--url", imported).out
    shown = sat("model", "net-a", "--url", imported)
    assert "test_resnet" in shown.out
    assert json.loads(sat("model", "net-a", "--json", "--url", imported).out)["state"] == "received"
    with Registry(imported) as registry:
        back = registry.checkpoint("net-a", tmp_path / "back.safetensors")
    np.testing.assert_array_equal(load_file(back)["weight"], load_file(weights)["weight"])
    assert sat("rm", "net-a", "--url", imported).code == 0
    assert sat("model", "net-a", "--url", imported).code == 1


def test_the_same_name_with_other_content_is_refused(sat: Sat, imported: str, weights: Path, tmp_path: Path) -> None:
    assert register(sat, imported, weights, "net-b").code == 0
    save_file({"weight": np.zeros((3, 4), np.float32)}, tmp_path / "other.safetensors")
    ended = register(sat, imported, tmp_path / "other.safetensors", "net-b")
    assert ended.code == 1
    assert "net-b" in ended.err


def test_a_misspelt_name_is_told_its_near_matches(sat: Sat, imported: str, weights: Path) -> None:
    assert register(sat, imported, weights, "net-c").code == 0
    ended = sat("similar", "net-cc", "--url", imported)
    assert ended.code == 1
    assert "net-c" in ended.err


def test_a_file_that_is_no_checkpoint_is_refused(sat: Sat, imported: str, tmp_path: Path) -> None:
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"\xff" * 100)
    ended = register(sat, imported, torn, "torn")
    assert ended.code == 1
    assert "safetensors" in ended.err


def test_what_is_not_measured_says_so(sat: Sat, imported: str, weights: Path, tmp_path: Path) -> None:
    for name in ("net-d", "net-e"):
        pool = "avg" if name == "net-d" else "max"
        assert register(sat, imported, weights, name, "--arg", f"global_pool={pool}").code == 0
    assert sat("similar", "net-d", "--url", imported).code == 0
    pair = sat("pair", "net-d", "net-e", "--url", imported)
    assert pair.code == 0
    assert "not measured yet" in pair.out
    assert sat("matrix", "--url", imported).code == 0
    assert sat("matrix", "--csv", tmp_path / "matrix.csv", "--url", imported).code == 0
    rows = list(csv.reader((tmp_path / "matrix.csv").read_text().splitlines()))
    assert all(len(row) == len(rows[0]) for row in rows)
    for command in (["recommend", "ensemble"], ["recommend", "teacher", "--student", "net-d"]):
        ended = sat(*command, "--url", imported)
        assert ended.code == 1, ended.out
        assert ended.err.startswith("sat: ")


def test_waiting_work_is_shown(sat: Sat, imported: str, weights: Path) -> None:
    assert register(sat, imported, weights, "net-f").code == 0
    jobs = sat("jobs", "--kind", "prepare", "--url", imported)
    assert jobs.code == 0
    assert "prepare" in jobs.out
    assert "net-f" in jobs.out
    assert "No worker" in sat("workers", "--url", imported).out


def test_models_of_many_pages_are_all_listed(imported: str, weights: Path) -> None:
    with Registry(imported) as registry:
        for number in range(5):
            shape = {"architecture": "test_resnet", "model_args": {"num_classes": 2, "in_chans": 1}, "task": "pets"}
            taken = {"size": 32, "channels": 1, "mean": [0.5], "std": [0.1 * (number + 1)]}
            registry.register({"name": f"page-{number}", "input": taken, **shape}, weights)
        listed = [model["name"] for model in registry.models(q="page-", limit=2)]
    assert listed == [f"page-{number}" for number in range(5)]


def test_a_model_is_edited_downloaded_deleted_and_restored(
    sat: Sat, imported: str, weights: Path, tmp_path: Path
) -> None:
    at = ["--url", imported]
    assert register(sat, imported, weights, "net-g", "--description", "first", "--license", "MIT").code == 0
    (tmp_path / "card.md").write_text("# net-g\n")
    edited = sat("edit", "net-g", "--tag", "b", "--license", "", "--card", tmp_path / "card.md", "--json", *at)
    model = json.loads(edited.out)
    assert (model["description"], model["tags"], model["license"], model["revision"]) == ("first", ["b"], None, 2)
    assert sat("card", "net-g", *at).out == "# net-g\n"
    assert "<h1>net-g</h1>" in sat("card", "net-g", "--html", *at).out
    assert sat("edit", "net-g", *at).code == 2
    told = json.loads(sat("download", "net-g", "--to", tmp_path / "sub" / "back.safetensors", "--json", *at).out)
    assert told["bytes"] == weights.stat().st_size
    np.testing.assert_array_equal(load_file(told["file"])["weight"], load_file(weights)["weight"])
    assert json.loads(sat("rm", "net-g", "--json", *at).out) == {"deleted": ["net-g"]}
    assert "net-g" in sat("models", "--deleted", *at).out
    assert json.loads(sat("restore", "net-g", "--json", *at).out)["name"] == "net-g"
    assert "net-g" not in sat("models", "--deleted", *at).out
    actions = [entry["action"] for entry in json.loads(sat("audit", "--subject", "net-g", "--json", *at).out)["items"]]
    assert actions == ["model.restore", "model.delete", "model.change"]
    assert "model.restore" in sat("audit", *at).out


def test_an_alias_is_set_listed_and_freed(sat: Sat, imported: str, weights: Path) -> None:
    at = ["--url", imported]
    assert register(sat, imported, weights, "net-h").code == 0
    assert sat("aliases", "set", "champion", "net-h", "--protected", *at).out == "champion is net-h, protected.\n"
    assert "champion" in sat("aliases", "list", *at).out
    assert json.loads(sat("model", "champion", "--json", *at).out)["aliases"] == ["champion"]
    refused = sat("rm", "net-h", *at)
    assert (refused.code, "champion" in refused.err) == (1, True)
    assert json.loads(sat("aliases", "rm", "champion", "--json", *at).out) == {"deleted": ["champion"]}
    assert sat("rm", "net-h", *at).code == 0


def test_a_webhook_is_refused_where_the_operator_allows_none(sat: Sat, imported: str) -> None:
    ended = sat("webhooks", "add", "https://hooks.example.com/", "--url", imported)
    assert (ended.code, "SAT_WEBHOOK_HOSTS" in ended.err) == (1, True)
    assert "no webhook" in sat("webhooks", "list", "--url", imported).out


def test_a_shell_is_offered_names_and_aliases(imported: str, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from client.cli import app
    from client.completion import complete_model

    with Registry(imported) as registry:
        shape = {"architecture": "test_resnet", "model_args": {"num_classes": 2, "in_chans": 1}, "task": "pets"}
        taken = {"size": 32, "channels": 1, "mean": [0.5], "std": [0.7]}
        registry.register({"name": "complete-me", "input": taken, **shape}, weights)
        registry.set_alias("complete-too", "complete-me")
    command = typer.main.get_command(app)
    monkeypatch.setenv("SAT_URL", imported)
    with command.make_context("sat", ["models"]) as context:  # type: ignore[attr-defined]  # a click command has it
        assert complete_model(context, "complete-") == ["complete-me", "complete-too"]
        monkeypatch.setenv("SAT_URL", "http://127.0.0.1:1")
        assert complete_model(context, "complete-") == []
