"""A receiver of webhooks as a program: writes down what it is sent, and answers with the statuses it was told.

`python receiver.py RECORD STATUS…`: prints its port; the last status is given for ever. 0 hangs up, -1 never answers.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HANG_UP, NEVER = 0, -1


def main(record: Path, statuses: list[int]) -> None:
    """Serve until killed."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            line = {"path": self.path, "headers": dict(self.headers.items()), "body": body.decode()}
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            if status == NEVER:
                time.sleep(600)
            if status == HANG_UP:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    print(server.server_port, flush=True)  # noqa: T201  whoever started it reads this
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(status) for status in sys.argv[2:]])
