"""A Galera cluster of two MariaDB nodes on this machine, for tests and benchmarks."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
SERVERS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
OPTIONS = (
    "--skip-networking",
    "--binlog-format=ROW",
    "--innodb-autoinc-lock-mode=2",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--wsrep-on=ON",
    f"--wsrep-provider={PROVIDER}",
    "--wsrep-cluster-name=test",
    "--wsrep-sst-method=nothing",
)
TRANSFER = """#!/bin/sh
# the second node begins with a copy of the first one's files, so that only what came since is sent, by the nodes themselves
while [ $# -gt 0 ]; do
    case "$1" in
        --role) role="$2" ;;
        --datadir) data="$2" ;;
        --gtid) gtid="$2" ;;
    esac
    shift
done
if [ "$role" = donor ]; then
    echo "done $gtid"
else
    echo "ready 127.0.0.1:1/nothing"
    sed -n 's/^uuid: *//p; s/^seqno: *//p' "$data/grastate.dat" | paste -s -d:
fi
"""
"""What stands in for the transfer of a whole state, for which the usual tools need more than a server."""


def missing() -> str | None:
    """Why there can be no cluster; None: there can."""
    if not PROVIDER.exists() or shutil.which("mariadbd", path=SERVERS) is None:
        return "no Galera on this machine: install Debian's package mariadb-server"
    return None


@dataclass
class Node:
    """One server of the cluster."""

    folder: Path
    port: int
    weight: int
    """Of its vote: of two nodes that lose one another, only one may go on."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the database `app`."""
        return f"mysql+pymysql://root@localhost/app?unix_socket={self.folder / 'socket'}&charset=utf8mb4"

    def start(self, *peers: Node) -> None:
        """Start it; without peers as the first of a new cluster."""
        server = shutil.which("mariadbd", path=SERVERS)
        assert server is not None
        addresses = ",".join(f"127.0.0.1:{peer.port}" for peer in peers)
        here = f"tcp://127.0.0.1:{self.port}"
        settings = (
            "--no-defaults",
            f"--user={getpass.getuser()}",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'socket'}",
            f"--wsrep-cluster-address=gcomm://{addresses}",
            f"--wsrep-node-address=127.0.0.1:{self.port}",
            f"--wsrep-provider-options=gmcast.listen_addr={here};ist.recv_addr=127.0.0.1:{self.port + 1}"
            f";gcache.size=32M;pc.weight={self.weight}",
        )
        with (self.folder / "log").open("ab") as log:
            path = os.pathsep.join([str(self.folder.parent), SERVERS])
            environment = os.environ | {"PATH": path}
            self.process = subprocess.Popen([server, *settings, *OPTIONS], stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + 60
        while not self.is_ready():
            assert self.process.poll() is None, (self.folder / "log").read_text("utf-8", "replace")[-3000:]
            assert time.monotonic() < deadline, "the node does not answer"
            time.sleep(0.1)

    def is_ready(self) -> bool:
        """Whether it takes statements as a part of the cluster."""
        with socket.socket(socket.AF_UNIX) as probe:  # the driver would leave one open
            if probe.connect_ex(str(self.folder / "socket")):
                return False
        engine = sa.create_engine(self.url.replace("/app?", "/?"), poolclass=sa.NullPool)
        try:
            with engine.connect() as connection:
                return bool(connection.execute(sa.text("SHOW STATUS LIKE 'wsrep_ready'")).one()[1] == "ON")
        except sa.exc.SQLAlchemyError:
            return False

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it in an orderly way."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


def _free_port() -> int:
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@contextmanager
def cluster() -> Iterator[tuple[Node, Node]]:
    """Two nodes with an empty database `app`.

    The second begins with a copy of the first one's files, which spares the transfer of its state.
    """
    install = shutil.which("mariadb-install-db", path=SERVERS)
    assert install is not None
    with TemporaryDirectory(prefix="galera-") as name:  # short: a socket's path has at most some hundred characters
        nodes = tuple(Node(Path(name) / str(number), _free_port(), weight=number) for number in (1, 2))
        first, second = nodes
        for node in nodes:
            node.folder.mkdir()
        transfer = Path(name) / "wsrep_sst_nothing"
        transfer.write_text(TRANSFER)
        transfer.chmod(0o700)
        user = ("--no-defaults", f"--user={getpass.getuser()}", f"--datadir={first.folder / 'data'}")
        root = ("--auth-root-authentication-method=normal", "--skip-test-db")
        subprocess.run([install, *user, *root], check=True, capture_output=True)
        try:
            first.start()
            engine = sa.create_engine(first.url.replace("/app?", "/?"), poolclass=sa.NullPool)
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE DATABASE app CHARACTER SET utf8mb4"))
            first.stop()
            shutil.copytree(
                first.folder / "data",
                second.folder / "data",
                ignore=shutil.ignore_patterns("galera.cache", "gvwstate.dat"),
            )
            first.start()
            second.start(first)
            yield first, second
        finally:
            for node in nodes:
                node.kill()
