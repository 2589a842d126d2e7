"""`sat gc`, `sat doctor`: what an administrator does now and then."""

from typing import Annotated, Any

import typer

from client.errors import REFUSED
from client.output import AsJson, Url, connect, print_json, say

GIGABYTE, MEGABYTE = 1e9, 1e6
# in the order in which they are told
COUNTED = {
    "models": "deleted models",
    "networks": "networks that no model names, with their results",
    "workers": "workers that left long ago",
    "analyses": "analyses that nobody asks for",
    "idempotency_keys": "idempotency keys",
    "deliveries": "settled messages to webhooks",
    "uploads": "uploads that stopped",
    "spool": "unfinished files",
}
# a dry run counts what the next sweep would take, a sweep what it took: these add up over several sweeps
SUMMED = ("artifacts", "bytes", "evicted_bytes", *COUNTED)


def gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is no longer needed: files that nothing refers to, deleted models past their time, old records."""
    with connect(url) as registry:
        swept = registry.collect_garbage(dry_run=dry_run)
        while swept["more"]:
            following = registry.collect_garbage()
            swept = following | {name: swept[name] + following[name] for name in SUMMED}
    if as_json:
        print_json(swept)
        return
    lines = [f"{swept[name]} {what}" for name, what in COUNTED.items() if swept[name]]
    if swept["artifacts"]:
        lines.append(f"{swept['artifacts']} files that nothing refers to, {_size(swept['bytes'])}")
    if swept["evicted_bytes"]:
        lines.append(f"adversarial images beyond their quota, {_size(swept['evicted_bytes'])}")
    say(("Would be removed:" if dry_run else "Removed:") if lines else "There is nothing to remove.")
    for line in lines:
        say(f"  {line}")
    if swept["later_artifacts"]:
        say(
            f"{swept['later_artifacts']} more files, {_size(swept['later_bytes'])}, follow when nothing has referred "
            "to them for long enough (SAT_GC_UNREFERENCED_SECONDS)."
        )


def doctor(
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Also read all bytes and all pairs: minutes to hours.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is inconsistent and say what to do; exit code 1 when there is something."""
    with connect(url) as registry:
        found = registry.doctor()
        findings, checked = list(found["findings"]), 0
        after: str | None = None
        while deep:
            page = registry.verify(after)
            findings += page["findings"]
            checked, after, deep = checked + page["checked"], page["next"], page["next"] is not None
    if as_json:
        print_json({"healthy": not findings, "findings": findings, "checked": checked, "next": None})
    else:
        _tell(findings, checked)
    if findings:
        raise typer.Exit(REFUSED)


def _tell(findings: list[dict[str, Any]], checked: int) -> None:
    for finding in findings:
        say(f"{finding['check']}: {finding['what']}")
        say(f"  {finding['do']}")
    if not findings:
        say("Nothing is wrong." + (f" {checked} files and pairs were read." if checked else ""))


def _size(n_bytes: int) -> str:
    return f"{n_bytes / GIGABYTE:.1f} GB" if n_bytes >= GIGABYTE else f"{n_bytes / MEGABYTE:.1f} MB"
