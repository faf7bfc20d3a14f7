"""A real ``augpro serve`` in a process of its own, and calls to it."""

import http.client
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager

from exported_folders import write_exported


def reach_only_this_machine(monkeypatch):
    """In the place of the tests' ``no_network``, which lets no server be asked."""
    join = socket.socket.connect

    def local(self, address):
        assert self.family == socket.AF_UNIX or address[0] == "127.0.0.1", address
        return join(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


def write_calibrated(folder):
    """An exported student of single texts with a calibration."""
    return write_exported(folder, calibration={"temperature": 2.0, "threshold": 0.8}, pair=False)[0]


@contextmanager
def served(folder, *arguments, cwd=None):
    """Start a server on a free port; yields its process and port."""
    command = [
        sys.executable,
        "-m",
        "augpro.cli",
        "serve",
        "--model",
        str(folder),
        "--port",
        "0",
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=cwd, env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert " at http://127.0.0.1:" in line, line + process.stderr.read()
        yield process, int(line.rsplit(":", 1)[1])
    finally:
        process.terminate()
        process.communicate(timeout=60)


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60)


def ask(port, content=None, method="POST", path="/predict"):
    """Status and content of an answer; ``content`` is sent as JSON, or as it is if it is bytes."""
    body = content if isinstance(content, bytes | None) else json.dumps(content)
    connection = connect(port)
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, json.loads(text) if text.startswith(("{", "[")) else text
