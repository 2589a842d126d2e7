"""The figures of a run, as a section of a document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: make test-faults -->", "<!-- end of figures -->"


# Of the faults that were asked for, and of the frozen workers: some are killed before they thaw, and a restart of
# PostgreSQL gives leases time.
LEAST_STRUCK, LEAST_FENCED = 0.92, 1 / 3


def too_mild(summary: Mapping[str, Any], asked: int) -> str | None:
    """Why a run without anomalies shows little; None where it was disturbed as it should have been."""
    struck, fenced = summary["faults"], summary["stopped_by_a_fence"]
    frozen = summary["faults_by_kind"].get("freeze worker", 0)
    if struck < LEAST_STRUCK * asked:
        return f"{struck} of {asked} faults met something; at least {LEAST_STRUCK:.0%} must."
    if fenced < int(LEAST_FENCED * frozen):
        return (
            f"{frozen} workers were frozen in the middle of a job, and only {fenced} results or renewals were refused "
            f"under a lost fence; at least {LEAST_FENCED:.0%} must be."
        )
    return None


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
the fault-free run included. Only faults that met something count: a process that lived, a connection, a worker in the
middle of a job, an api in the middle of a transaction; {summary["faults_that_met_nothing"]} more met nothing.

| fault | times |
| --- | --- |
{faults}

* Answers that clients saw: {responses}.
* Directed cells: {summary["cells"]}, each on both rungs and bit-equal to the fault-free run; pairs: {summary["pairs"]}.
* Results that the witness saw recorded: {summary["results_witnessed"]}, all under a claim that stood. Attempts to
  record, renew or finish under a lost one that were refused: {summary["stopped_by_a_fence"]}, of
  {summary["faults_by_kind"].get("freeze worker", 0)} workers frozen past their lease (a third must be).
* Jobs begun: {jobs}, of which {again} after an attempt that counted (a worker had died, or fallen silent).
"""
