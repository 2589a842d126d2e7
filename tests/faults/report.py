"""The figures of a run, as a section of a document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: make test-faults -->", "<!-- end of figures -->"


def write_figures(document: Path, summary: Mapping[str, Any]) -> None:
    """Replace what stands between the two marks of the document by this run's figures."""
    text = document.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    document.write_text(f"{before}{BEGIN}\n{_figures(summary)}\n{END}{after}")


def _figures(summary: Mapping[str, Any]) -> str:
    faults = "\n".join(f"| {kind} | {times} |" for kind, times in summary["faults_by_kind"].items())
    responses = ", ".join(f"{times} times {status}" for status, times in summary["responses"].items())
    again, jobs = summary["jobs_started_again"], summary["jobs_started"]
    return f"""
`make test-faults` (seed {summary["seed"]}): {summary["faults"]} faults in {summary["disturbed_seconds"]:.0f} s,
{summary["registrations"]} registrations, **{len(summary["anomalies"])} anomalies**; {summary["seconds"]:.0f} s in all,
the fault-free run included.

| fault | times |
| --- | --- |
{faults}

* Answers that clients saw: {responses}.
* Directed cells: {summary["cells"]}, each on both rungs and bit-equal to the fault-free run; pairs: {summary["pairs"]}.
* Results that the witness saw recorded: {summary["results_witnessed"]}, all under a claim that stood. Attempts to
  record, renew or finish under a lost one that were refused: {summary["stopped_by_a_fence"]}.
* Jobs begun: {jobs}, of which {again} after an attempt that counted (a worker had died, or fallen silent).
"""
