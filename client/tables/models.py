"""Models and image sets as tables."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from client.shapes import ImageSet, ModelDetail, ModelSummary, Progress, Share
from client.tables.figures import NOTHING, count, decimal, percent

STATE_STYLE = {"ready": "green", "suspect": "yellow", "failed": "red", "received": "dim"}


def state(model: ModelSummary) -> Text:
    """Return the model's state in its colour."""
    return Text(model["state"], style=STATE_STYLE.get(model["state"], ""))


def progress(steps: Progress) -> str:
    """Return the stage, and while there is something to measure, how much of it is there."""
    if steps["stage"] == "measured" or not steps["pairs"]:
        return steps["stage"]
    return f"{steps['stage']} ({steps['pairs_measured']} of {steps['pairs']} pairs)"


def models_table(models: Iterable[ModelSummary]) -> Table:
    """Return a row a model."""
    table = Table(box=None, header_style="bold")
    for title in ("model", "state", "architecture", "base", "family"):
        table.add_column(title, overflow="fold")
    for title in ("parameters", "accuracy"):
        table.add_column(title, justify="right")
    table.add_column("progress", overflow="fold")
    for model in models:
        table.add_row(
            model["name"],
            state(model),
            model["architecture"],
            model["base"] or NOTHING,
            model["family"] or NOTHING,
            count(model["parameters"]),
            percent(model["accuracy"]),
            model["failure"] or model["concern"] or progress(model["progress"]),
        )
    return table


def model_table(model: ModelDetail) -> Table:
    """Return everything about one model, a row a property, the components last."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _properties(model):
        table.add_row(name, value)
    for name, component in (model["components"] or {}).items():
        table.add_row(f"· {name.replace('_', ' ')}", NOTHING if component is None else str(component))
    return table


def _properties(model: ModelDetail) -> Iterable[tuple[str, str | Text]]:
    taken, task = model["input"], model["task"]
    yield "model", model["name"]
    if model["aliases"]:
        yield "aliases", ", ".join(model["aliases"])
    yield "state", state(model)
    for field in ("failure", "concern", "description", "license"):
        if model.get(field):
            yield field, str(model.get(field))
    yield "architecture", f"{model['architecture']} ({model['base'] or NOTHING}, {model['family'] or NOTHING})"
    if model["model_args"]:
        yield "arguments", ", ".join(f"{name}={value}" for name, value in model["model_args"].items())
    if taken:
        yield "input", f"{taken['size']} x {taken['size']} x {taken['channels']}"
        yield "mean, std", f"{taken['mean']}, {taken['std']}"
    if task:
        yield "task", f"{task['name']} ({task['classes']} classes)"
    yield "size", f"{count(model['parameters'])} parameters, {decimal(model['gmacs'], 4)} GMACs"
    for part, accuracy in (model["accuracies"] or {}).items():
        yield f"accuracy ({part})", _share(accuracy, "correct")
    yield "self-fooling", _share(model["self_fooling"], "fooled")
    yield "noise rate", _share(model["noise"], "fooled")
    for flag in model["flags"]:
        yield "note", flag
    yield "progress", progress(model["progress"])
    yield "digest", model["digest"] or NOTHING


def _share(share: Share | None, of: str) -> str:
    if share is None:
        return NOTHING
    hits = share.get(of)
    return f"{percent(share['rate'])} ({hits} of {share['n']} {of})"


def image_sets_table(image_sets: Iterable[ImageSet]) -> Table:
    """Return a row an image set."""
    table = Table(box=None, header_style="bold")
    for title in ("image set", "task", "classes", "images", "attack", "prefix", "select", "report", "side"):
        table.add_column(title, justify="left" if title in {"image set", "task"} else "right")
    table.add_column("digest")
    for one in image_sets:
        parts = one["parts"]
        table.add_row(
            one["name"],
            str(one["task"]["name"]),
            str(len(one["task"]["classes"])),
            str(sum(parts.values())),
            str(parts["attack"]),
            str(one["prefix"]),
            str(parts["select"]),
            str(parts["report"]),
            f"{one['side']} x {one['channels']}",
            (one["digest"] or NOTHING)[:12],
        )
    return table
