"""The test stand: a cluster of three primaries, one plain server, and the proxies in front of them, all on
127.0.0.1 and gone with the stand. Knows how each program is configured, not what is measured. Used by bench.py.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from processes import BUS_OFFSET, BenchError, Process, ask, free_ports, wait_until

SLOTS = 16_384
PRIMARIES = 3
NODE_TIMEOUT_MS = 5_000
# More than any load opens, on the servers and on HAProxy.
MAXCLIENTS_PEERS = 2_000


@dataclass(frozen=True)
class Programs:
    """Where the programs are; an empty path: not there, so not measured."""

    slotway: str
    redis_server: str
    redis_benchmark: str
    haproxy: str
    envoy: str


@dataclass(frozen=True)
class Target:
    """Something that the load generator is pointed at."""

    name: str
    port: int
    # None: the load generator talks to the servers itself.
    proxy: Process | None
    servers: list[Process]
    # The load generator finds the nodes by itself.
    cluster_mode: bool = False


class Stand:
    """Everything that runs during the benchmark. A context manager: at its end all is stopped."""

    def __init__(self, programs: Programs, server_options: Sequence[str] = ()) -> None:
        self.programs = programs
        self.server_options = server_options
        self.directory = Path(tempfile.mkdtemp(prefix="slotway-bench-"))
        self.running: list[Process] = []
        self.admin_port = 0
        self.nodes: list[tuple[int, Process]] = []

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.running):
            process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, name: str, command: list[str]) -> Process:
        """Starts a program that ends with the stand."""
        process = Process(name, command, self.directory)
        self.running.append(process)
        return process

    def boot_cluster(self) -> None:
        """Boots the primaries, deals out the slots and waits until all agree."""
        for index, port in enumerate(free_ports(PRIMARIES, (0, BUS_OFFSET))):
            self.nodes.append((port, self.redis(f"node-{index}", port, cluster=True)))
        first = self.nodes[0][0]
        for index, (port, node) in enumerate(self.nodes):
            wait_until(f"node {port} answers", partial(answers, port), node)
            start, end = SLOTS * index // PRIMARIES, SLOTS * (index + 1) // PRIMARIES - 1
            expect_ok(port, "CLUSTER", "SET-CONFIG-EPOCH", str(index + 1))
            expect_ok(port, "CLUSTER", "ADDSLOTSRANGE", str(start), str(end))
            expect_ok(port, "CLUSTER", "MEET", "127.0.0.1", str(first))
        for port, node in self.nodes:
            wait_until(f"node {port} sees the whole cluster", partial(cluster_ready, port), node)

    def redis(self, name: str, port: int, *, cluster: bool) -> Process:
        """Starts a server that keeps nothing on disk."""
        directory = self.directory / f"data-{name}"
        directory.mkdir()
        command = [self.programs.redis_server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
        command += ["--save", "", "--appendonly", "no", "--maxclients", str(MAXCLIENTS_PEERS)]
        command += self.server_options
        if cluster:
            command += ["--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS)]
        return self.start(name, command)

    def direct(self) -> Target:
        """The cluster without a proxy: the load generator routes."""
        return Target("direct", self.nodes[0][0], None, [node for _, node in self.nodes], cluster_mode=True)

    def slotway(self, name: str = "slotway", wrapper: Sequence[str] = (), options: Sequence[str] = ()) -> Target:
        """slotway with one worker and otherwise its defaults: metrics, hit rate and limits are on. The wrapper is
        a program that is to run it."""
        port, self.admin_port = free_ports(2)
        seeds = ",".join(f"127.0.0.1:{node}" for node, _ in self.nodes)
        command = [*wrapper, self.programs.slotway, "run", "--workers", "1", "--nodes", seeds]
        command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{self.admin_port}", *options]
        process = self.start(name, command)
        wait_until("slotway is ready", lambda: http_get(self.admin_port, "/readyz") != "", process)
        return Target(name, port, process, [node for _, node in self.nodes])

    def haproxy(self) -> Target:
        """HAProxy as a plain TCP proxy with one thread, in front of one plain server: it knows no slots."""
        port, backend = free_ports(2)
        server = self.redis("plain", backend, cluster=False)
        config = self.directory / "haproxy.cfg"
        config.write_text(
            f"""global
    nbthread 1
    maxconn {MAXCLIENTS_PEERS}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend clients
    bind 127.0.0.1:{port}
    default_backend plain
backend plain
    server plain 127.0.0.1:{backend}
"""
        )
        process = self.start("haproxy", [self.programs.haproxy, "-db", "-f", str(config)])
        wait_until("HAProxy answers", partial(answers, port), server, process)
        return Target("haproxy", port, process, [server])

    def envoy(self) -> Target:
        """Envoy's redis_proxy with one worker thread, in front of the same cluster as slotway."""
        (port,) = free_ports(1)
        config = self.directory / "envoy.json"
        config.write_text(json.dumps(envoy_config(port, [node for node, _ in self.nodes])))
        command = [self.programs.envoy, "-c", str(config), "--concurrency", "1"]
        process = self.start("envoy", [*command, "--disable-hot-restart", "--log-level", "error"])
        # Only once it has the slots does a key find its node.
        wait_until("Envoy serves keys", lambda: ask(port, "GET", "key").startswith("$"), process)
        return Target("envoy", port, process, [node for _, node in self.nodes])


def envoy_config(port: int, nodes: list[int]) -> dict[str, object]:
    """Envoy's own defaults wherever there is one."""
    api = "type.googleapis.com/envoy.extensions"

    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    proxy = {
        "@type": f"{api}.filters.network.redis_proxy.v3.RedisProxy",
        "stat_prefix": "redis",
        "settings": {"op_timeout": "5s", "enable_redirection": True},
        "prefix_routes": {"catch_all_route": {"cluster": "redis"}},
    }
    listener = {
        "name": "redis",
        "address": address(port),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.redis_proxy", "typed_config": proxy}]}],
    }
    cluster = {
        "name": "redis",
        "connect_timeout": "2s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.redis",
            "typed_config": {"@type": f"{api}.clusters.redis.v3.RedisClusterConfig", "cluster_refresh_rate": "10s"},
        },
        "load_assignment": {
            "cluster_name": "redis",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(node)}} for node in nodes]}],
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def expect_ok(port: int, *arguments: str) -> None:
    """A command that must be answered with OK."""
    reply = ask(port, *arguments)
    if reply != "+OK":
        raise BenchError(f"{' '.join(arguments)} on port {port}: {reply}")


def answers(port: int) -> bool:
    """Whether a server or proxy is there."""
    return ask(port, "PING") == "+PONG"


def cluster_ready(port: int) -> bool:
    """Whether this node knows all primaries and serves."""
    info = ask(port, "CLUSTER", "INFO")
    return "cluster_state:ok" in info and f"cluster_slots_assigned:{SLOTS}" in info


def http_get(port: int, path: str) -> str:
    """The body of a page that is answered with 200; raises OSError otherwise."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        body: bytes = response.read()
        return body.decode()
