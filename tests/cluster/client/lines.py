#!/usr/bin/env python3
"""An API server whose pods only write: lines.py PORT CHAIN KEY EVERY FLOOD

Every pod has one container, which writes a line each EVERY seconds with this machine's monotonic time
in it. A pod whose name begins with "flood" writes FLOOD bytes of lines before that, as fast as they
are taken. A process of its own, so that it never waits for the readers' side."""
import asyncio
import json
import ssl
import sys
import time
from urllib.parse import parse_qs, urlsplit


def stamp():
    now = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}Z"


def pod(name):
    return {"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1"},
            "spec": {"restartPolicy": "Always", "containers": [{"name": "w"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "w", "restartCount": 0, "state": {"running": {}}}]}}


async def follow(writer, name, every, flood):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def send(text):
        writer.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        await writer.drain()
    left = flood if name.startswith("flood") else 0
    while left > 0:
        piece = "".join(f"{stamp()} {left - at:010d} {'x' * 220}\n" for at in range(64)).encode()
        await send(piece)
        left -= len(piece)
    # Spread over the period, so that a thousand do not write at once.
    await asyncio.sleep(hash(name) % 997 / 997 * every)
    while True:
        await send(f"{stamp()} at {time.monotonic_ns()}\n".encode())
        await asyncio.sleep(every)


async def serve(reader, writer, every, flood):
    try:
        while True:
            line = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[0]
            target = urlsplit(line.split(" ")[1])
            query = parse_qs(target.query)
            if target.path.endswith("/log"):
                await follow(writer, target.path.split("/")[-2], every, flood)
            if target.path.endswith("/pods"):
                name = query["fieldSelector"][0].split("=")[1]
                body = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [pod(name)]}
            elif "/pods/" in target.path:
                body = pod(target.path.split("/")[-1])
            elif target.path.startswith("/version"):
                body = {"gitVersion": "v1.36.0", "major": "1", "minor": "36"}
            else:
                body = {"kind": "Namespace", "apiVersion": "v1",
                        "metadata": {"name": "kube-system", "uid": "00000000-0000-0000-0000-000000000001"}}
            text = json.dumps(body)
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        writer.transport.abort()


async def main(port, chain, key, every, flood):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = await asyncio.start_server(lambda r, w: serve(r, w, float(every), int(flood)), "127.0.0.1", int(port), ssl=context, backlog=2048)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
