"""`sat verify`: one recorded pair, computed once more from what its digests name."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from client.errors import ClientError
from client.output import (
    AsJson,
    ImageSetName,
    ProtocolName,
    Url,
    complaints,
    connect,
    console,
    print_json,
    say,
)
from client.tables.figures import interval

if TYPE_CHECKING:
    from worker.recomputing import Figure, Recomputed

# the determinism contract (docs/sat.md): another batch, thread count or memory format may turn so many bits
TOLERATED = 0.001
SAID = {
    "n": "images both get right",
    "a_fools_b": "a fools b",
    "b_fools_a": "b fools a",
    "a_fools_itself": "a fools itself",
    "b_fools_itself": "b fools itself",
    "fooled_both": "fooled both ways",
    "sat": "SAT",
    "sat_low": "SAT, 95 % from",
    "sat_high": "SAT, 95 % to",
    "floor_a_to_b": "floor, a to b",
    "floor_b_to_a": "floor, b to a",
    "ceiling_a_to_b": "ceiling, a to b",
    "ceiling_b_to_a": "ceiling, b to a",
    "noise_a_to_b": "noise on b",
    "noise_b_to_a": "noise on a",
}


def verify(
    a: Annotated[str, typer.Argument(help="A model.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    *,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    device: Annotated[str, typer.Option("--device", help="Compute here: cpu, or cuda:N.")] = "cpu",
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Compute a recorded pair once more from its digests, and compare count by count; exit 1 where they differ."""
    # before torch is loaded: on two cores, threads that wait busily took 4 min 33 s for what one does in 20 s
    for name, value in (("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "PASSIVE")):
        os.environ.setdefault(name, value)
    with connect(url) as registry, tempfile.TemporaryDirectory(prefix="sat-verify-") as scratch:
        from sat_engine.errors import EngineError
        from worker.recomputing import recompute

        pair: Any = registry.pair(a, b, image_set=image_set, protocol=protocol)
        _require_recorded(pair)
        try:
            found = recompute(registry, pair, Path(scratch), device=device, tell=complaints.print)
        except EngineError as error:
            raise ClientError(f"{pair['a']} and {pair['b']} cannot be computed here: {error}") from error
    equal = all(each.equal for each in found.figures)
    verdict = "Equal, count by count." if equal else _difference(found)
    if as_json:
        print_json(_answer(pair, found, verdict, equal=equal))
    else:
        _print(pair, found, verdict)
    if not equal:
        raise typer.Exit(1)


def _require_recorded(pair: Any) -> None:
    if not pair["rungs"]:
        raise ClientError(f"{pair['a']} and {pair['b']}: nothing is recorded to verify ({pair['reason']})")
    if pair["digests"]["a"] == pair["digests"]["b"]:
        raise ClientError(f"{pair['a']} and {pair['b']} are the same network; verify a pair of two.")


def _answer(pair: Any, found: "Recomputed", verdict: str, *, equal: bool) -> dict[str, Any]:
    """Return the comparison as JSON values."""
    figures = [
        {"rung": each.rung, "name": each.name, "recorded": each.recorded, "recomputed": each.recomputed,
         "equal": each.equal}
        for each in found.figures
    ]  # fmt: skip
    return {
        "a": pair["a"],
        "b": pair["b"],
        "comparison": pair["comparison"],
        "version": pair["version"],
        "digests": pair["digests"],
        "obtained": pair["obtained"],
        "equal": equal,
        "verdict": verdict,
        "figures": figures,
        "recorded_by": sorted(found.transfer_paths | found.attack_paths),
        "recomputed_by": sorted(found.paths),
        "same_path": found.same_path,
    }


def _print(pair: Any, found: "Recomputed", verdict: str) -> None:
    say(f"{pair['a']} (a) and {pair['b']} (b) on {pair['comparison']}; every digest is as recorded")
    figures = {each.name: each for each in found.figures}
    if "sat" in figures:
        sat, low, high = (figures[name] for name in ("sat", "sat_low", "sat_high"))
        say(f"SAT recorded   {sat.recorded:.4f} (95 %: {interval((low.recorded, high.recorded))})")
        say(f"SAT recomputed {sat.recomputed:.4f} (95 %: {interval((low.recomputed, high.recomputed))})")
    else:
        say(f"SAT: none ({pair['reason']})")
    console.print(_table(found))
    say(f"recorded by {'; '.join(sorted(found.transfer_paths | found.attack_paths))}")
    say(f"here by     {'; '.join(sorted(found.paths))}")
    say(verdict)


def _table(found: "Recomputed") -> Table:
    table = Table(box=None, header_style="bold")
    for title in ("rung", "count"):
        table.add_column(title)
    for title in ("recorded", "recomputed", ""):
        table.add_column(title, justify="right")
    for each in found.figures:
        rung = "all" if each.rung is None else str(each.rung)
        difference = "" if each.equal else "differs"
        table.add_row(rung, SAID[each.name], f"{each.recorded:.6g}", f"{each.recomputed:.6g}", difference)
    return table


def _difference(found: "Recomputed") -> str:
    """Return how far apart the figures are, and whether the determinism contract allows it."""
    bits, of, clean = _differing_bits(found.figures)
    within = "within" if not clean and bits <= TOLERATED * of else "beyond"
    reason = (
        "the numeric path is the same, and then none may differ"
        if found.same_path
        else "the numeric path differs, or an older release did not record all of it"
    )
    return (
        f"Different: {bits:.0f} of {of:.0f} fooled bits at the least{', and clean bits too' if clean else ''}; "
        f"{reason}. Where paths differ, the determinism contract allows {TOLERATED:.1%} of fooled bits and no clean "
        f"bit: this is {within} it."
    )


def _differing_bits(figures: "tuple[Figure, ...]") -> tuple[float, float, bool]:
    """Return how many fooled bits of the pair's cells differ at the least, of how many, and whether clean ones do."""
    images = {each.rung: each.recorded for each in figures if each.name == "n"}
    fooled = [each for each in figures if each.name in {"a_fools_b", "b_fools_a"}]
    clean = any(not each.equal for each in figures if each.name == "n")
    return (
        sum(abs(each.recorded - each.recomputed) for each in fooled),
        sum(images[each.rung] for each in fooled),
        clean,
    )
