"""A real nginx in front of a real gunicorn: which addresses are stored, and that `local_only` lets nobody in through it."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ..conftest import SERVER_PATH
from ..documentation import blocks

NGINX = shutil.which("nginx", path=SERVER_PATH)
ROOT = Path(__file__).parents[2]
CLIENT = "127.0.0.9"
"""From where the client calls: another address of this machine than the proxy's own, which is 127.0.0.1."""
APP = """
import os
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from flask_statistics import RequestMixin, Statistics
from flask_statistics.guards import everybody
from tests.documentation import blocks

def make(name, header=None, guard=None):
    app = Flask(name)
    database = f"sqlite:///{os.environ['FOLDER']}/{name}.sqlite"
    app.config.update(SQLALCHEMY_DATABASE_URI=database, STATISTICS_REAL_IP_HEADER=header)
    if name == "fixed":
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)
    db = SQLAlchemy(app)
    model = type("Request", (RequestMixin, db.Model), {})
    if name == "documented":
        (proxy,) = (block.text for block in blocks(language="python") if "ProxyFix" in block.text)
        exec(proxy, {"app": app})
    Statistics(app, db, model, guard)
    with app.app_context():
        db.create_all()
    app.add_url_rule("/stored", "stored", lambda: ",".join(str(row.remote_address) for row in db.session.query(model)))
    return app

apps = {"/plain": make("plain"), "/fixed": make("fixed"), "/real": make("real", "X-Real-IP")}
apps["/last"] = make("last", "X-Forwarded-For")
app = DispatcherMiddleware(make("documented", guard=everybody), apps)
"""
HEADERS = """
proxy_set_header Host $host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
"""
CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    {servers}
}}
"""
SERVER = "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{upstream}; {headers} }} }}"
DOCUMENTED = (False, "as the documentation has it")
KINDS = tuple((unix, headers) for unix in (False, True) for headers in ("", HEADERS))
"""Whether the proxy calls by a Unix socket, and what it is told to add."""

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx on this machine: install Debian's package nginx-light")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Status and body, asked for by a client at `CLIENT`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(CLIENT, 0))
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@contextmanager
def running(*command: str, **environment: str) -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=nowhere, stderr=nowhere)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[tuple[bool, str], int]]:
    """The port of an nginx for each of `KINDS`, in front of a gunicorn that listens on both."""
    with TemporaryDirectory(prefix="nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers are another user's
        (folder / "app.py").write_text(APP)
        binds = (f"127.0.0.1:{free_port()}", f"unix:{folder}/gunicorn.sock")
        found = {kind: free_port() for kind in (*KINDS, DOCUMENTED)}
        servers = [
            SERVER.format(port=found[unix, headers], upstream=binds[unix], headers=headers) for unix, headers in KINDS
        ]
        (location,) = blocks(language="nginx")
        told = location.text.replace("127.0.0.1:8000", binds[0])
        servers.append(f"server {{ listen 127.0.0.1:{found[DOCUMENTED]}; {told} }}")
        (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, servers="\n".join(servers)))
        gunicorn = (sys.executable, "-m", "gunicorn", "--chdir", name, "-b", binds[0], "-b", binds[1], "app:app")
        with (
            running(*gunicorn, PYTHONPATH=f"{ROOT}:{folder}", FOLDER=name),
            running(str(NGINX), "-p", name, "-c", str(folder / "nginx.conf")),
        ):
            deadline = time.monotonic() + 60
            for port in found.values():
                while not answers(port):
                    assert time.monotonic() < deadline, "the site does not answer"
                    time.sleep(0.05)
            yield found


def answers(port: int) -> bool:
    with suppress(OSError):
        return get(port, "/ready")[0] == 404
    return False


@pytest.mark.parametrize(
    ("app", "unix", "headers", "stored"),
    [
        ("plain", False, "", "127.0.0.1"),  # the proxy's: nothing says whose
        ("plain", True, "", "None"),
        ("plain", False, HEADERS, "127.0.0.1"),
        ("plain", True, HEADERS, "None"),
        ("fixed", False, HEADERS, CLIENT),
        ("fixed", True, HEADERS, CLIENT),
        ("real", False, HEADERS, CLIENT),
        ("real", True, HEADERS, CLIENT),
        ("last", True, HEADERS, CLIENT),
    ],
)
def test_behind_nginx(ports: dict[tuple[bool, str], int], app: str, unix: bool, headers: str, stored: str) -> None:
    port = ports[unix, headers]
    before = [text for text in get(port, f"/{app}/stored")[1].split(",") if text]
    assert get(port, f"/{app}/page", X_Forwarded_For="6.6.6.6", Forwarded="for=6.6.6.6")[0] == 404
    found = get(port, f"/{app}/stored")[1].split(",")[len(before) :]
    assert found == [stored] * 2
    for host in ("localhost", f"127.0.0.1:{port}", "shop.example"):
        for path in ("/statistics/", "/statistics/api/summary", "/statistics/static/nothing.css"):
            status, body = get(port, f"/{app}{path}", Host=host)
            assert (status, "hits" in body) == (403, False), (host, path)


def test_behind_nginx_as_the_documentation_has_it(ports: dict[tuple[bool, str], int]) -> None:
    port = ports[DOCUMENTED]
    before = len(get(port, "/app/stored")[1].split(","))
    get(port, "/app/page", X_Forwarded_For="6.6.6.6")
    assert set(get(port, "/app/stored")[1].split(",")[before:]) == {CLIENT}
    links = re.findall(r'(?:href|src|action)="(/[^"]*)', get(port, "/app/statistics/")[1])
    assert len(links) > 10
    assert [link for link in links if not link.startswith("/app/statistics/")] == []
