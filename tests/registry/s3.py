"""A real S3 server over a folder: rclone's, from its wheel, with credentials."""

import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from embedded.processes import Service

KEY_ID, SECRET = "sat-tests", "a secret of these tests"


@dataclass
class S3Server:
    """Buckets are the folders below `data`."""

    data: Path
    port: int

    def environment(self, secret: str = SECRET) -> dict[str, str]:
        """What any AWS client is told."""
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": "us-east-1",
        }

    def service(self) -> Service:
        """The server, to be kept running."""
        return Service(
            name="s3",
            is_server=True,
            command=(
                str(Path(sys.executable).parent / "rclone"), "serve", "s3", "--addr", f"127.0.0.1:{self.port}",
                "--auth-key", f"{KEY_ID},{SECRET}", "--vfs-cache-mode", "off", str(self.data),
            ),
            env={"RCLONE_CONFIG": os.devnull},
            ready=self._answers,
            stop_signal=signal.SIGTERM,
        )  # fmt: skip

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
