"""A real, small api for the supervisor's tests: it serves the inherited socket and tells who it is.

`/healthz` answers 200; `/rows` answers how many rows the database holds, after adding one; `/exit` ends it.
"""

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import psycopg


def add_row() -> int:
    """Return the number of committed rows after adding one."""
    with psycopg.connect(os.environ["DATABASE_URL"].replace("+psycopg", "")) as connection:
        connection.execute("insert into kept default values")
        row = connection.execute("select count(*) from kept").fetchone()
    assert row is not None
    return int(row[0])


class Handler(BaseHTTPRequestHandler):
    """Answers JSON."""

    def do_GET(self) -> None:
        if self.path == "/exit":
            threading.Timer(0.05, os._exit, [3]).start()
        body = json.dumps({"pid": os.getpid(), "rows": add_row() if self.path == "/rows" else None}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=int(os.environ["SAT_FD"]))
server.serve_forever()
