#!/usr/bin/env python3
"""Fills an API server without kubelets, and measures LISTs of it, from the standard library alone.

    scale.py ENV-FILE pods COUNT [NAMESPACE [NODES]]   creates nodes (20 unless said), the namespace and COUNT pods (7 kB of JSON each)
    scale.py ENV-FILE list [URL-PREFIX CA TOKEN]  times GET /api/v1/pods, identity encoding; the prefix may be a tunnel's
"""
import http.client
import json
import ssl
import sys
import threading
import time
import urllib.parse

CONNECTIONS = 12
NODES = 20


def facts(path):
    with open(path, encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split("=", 1) for line in lines if "=" in line)


class Server:
    """One base URL with its trust and its bearer token."""

    def __init__(self, url, ca, token):
        self.url = urllib.parse.urlsplit(url)
        self.trust = ssl.create_default_context(cafile=ca)
        self.headers = {"Authorization": "Bearer " + token, "Accept": "application/json"}

    def connect(self):
        return http.client.HTTPSConnection(self.url.hostname, self.url.port, context=self.trust, timeout=120)

    def call(self, connection, method, path, body=None, accepted=()):
        headers = dict(self.headers, **({"Content-Type": "application/json"} if body else {}))
        connection.request(method, self.url.path + path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        data = response.read()
        if response.status >= 300 and response.status not in accepted:
            raise SystemExit(f"{method} {path}: {response.status} {data[:300]!r}")
        return data


def node(name):
    size = {"cpu": "64", "memory": "256Gi", "pods": "1000"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"capacity": size, "allocatable": size}}


def pod(index, nodes):
    """What a Deployment of a real team makes: two containers, labels, probes, a status with conditions."""
    app = f"app-{index // 10}"

    def container(name):
        return {
            "name": name, "image": f"registry.example/team/{name}:v1.2.{index % 50}",
            "ports": [{"containerPort": 8080, "name": "http"}],
            "env": [{"name": f"SETTING_{n}", "value": f"value-{n}-{index}"} for n in range(12)],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
            "volumeMounts": [{"name": "settings", "mountPath": "/etc/app"}],
        }

    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": f"{app}-7d9f8c6b5-{index:05d}",
            "labels": {"app": app, "pod-template-hash": "7d9f8c6b5", "tier": "backend",
                       "app.kubernetes.io/name": app, "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"checksum/config": "0123456789abcdef" * 4, "prometheus.io/scrape": "true",
                            "example.com/note": "x" * 600},
        },
        "spec": {
            "nodeName": f"scale-{index % nodes:02d}", "tolerations": [{"operator": "Exists"}],
            "automountServiceAccountToken": False,
            "containers": [container(name) for name in ("app", "sidecar")],
            "volumes": [{"name": "settings", "configMap": {"name": "app-settings"}}],
        },
    }


def create(server, count, namespace, nodes):
    first = server.connect()
    server.call(first, "POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, accepted=(409,))
    for index in range(nodes):
        server.call(first, "POST", "/api/v1/nodes", node(f"scale-{index:02d}"), accepted=(409,))
    indices, lock, failures = iter(range(count)), threading.Lock(), []

    def work():
        connection = server.connect()
        try:
            while True:
                with lock:
                    index = next(indices, None)
                if index is None or failures:
                    return
                server.call(connection, "POST", f"/api/v1/namespaces/{namespace}/pods", pod(index, nodes))
        except (SystemExit, OSError) as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise SystemExit(str(failures[0]))
    print(f"{count} pods in {time.monotonic() - started:.1f} s")


def measure(server):
    """Reads without keeping: the reader must not be the slow part."""
    connection = server.connect()
    started = time.monotonic()
    connection.request("GET", server.url.path + "/api/v1/pods", headers=dict(server.headers, **{"Accept-Encoding": "identity"}))
    response = connection.getresponse()
    head, total, tail = time.monotonic() - started, 0, b""
    while chunk := response.read(1 << 18):
        total += len(chunk)
        tail = (tail + chunk)[-3:]
    took = time.monotonic() - started
    print(json.dumps({"status": response.status, "bytes": total, "whole": tail.rstrip().endswith(b"}"),
                      "head_s": round(head, 3), "seconds": round(took, 3), "mb_per_s": round(total / took / 1e6, 1)}))


def main(env, command, *rest):
    known = facts(env)
    server = Server(known["CLUSTER_API"], known["CLUSTER_CA"], known["CLUSTER_ADMIN_TOKEN"])
    if command == "pods":
        create(server, int(rest[0]), rest[1] if len(rest) > 1 else "scale", int(rest[2]) if len(rest) > 2 else NODES)
    elif command == "list":
        measure(Server(*rest) if rest else server)
    else:
        raise SystemExit(__doc__)


if len(sys.argv) < 3:
    raise SystemExit(__doc__)
main(*sys.argv[1:])
