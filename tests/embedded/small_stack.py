"""Run a stack of small programs on the folder given, as `sat serve` runs the real one.

Standard output: one line of JSON, what it knows. Standard error: what it says.
"""

import json
import sys
import threading
from pathlib import Path

from embedded.programs import Programs
from embedded.supervisor import Stack

here = Path(__file__).parent
programs = Programs(
    migrate=(sys.executable, str(here / "small_migration.py")),
    api=(sys.executable, str(here / "small_api.py")),
    worker=(sys.executable, str(here / "small_worker.py")),
)
with Stack(Path(sys.argv[1]), compute_workers=1, programs=programs, say=sys.stderr.write) as stack:
    sys.stdout.write(json.dumps({"url": stack.url, "pids": stack.pids}) + "\n")
    sys.stdout.flush()
    threading.Event().wait()
