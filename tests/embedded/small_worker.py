"""A small worker: writes its settings down, starts a process of its own as a converter would, and waits."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
names = ("SAT_LANES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "REDIS_URL")
record = {name: os.environ[name] for name in names} | {"pid": os.getpid(), "own": own.pid}
new = Path(os.environ["SAT_HOME"]) / f"worker-{os.getpid()}.new"
new.write_text(json.dumps(record))
new.rename(new.with_suffix(".json"))
time.sleep(1000)
