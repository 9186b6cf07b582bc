#!/usr/bin/env python3
"""An API server that only offers bytes: source.py PORT CHAIN KEY BYTES

Every log is an answer of that many bytes; the few calls with which an agent learns which cluster this
is get what they need. A process of its own, so that it never waits for the readers' side."""
import asyncio
import json
import ssl
import sys

PIECE = bytes(range(251)) * 261


async def serve(reader, writer, size):
    try:
        while True:
            line = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[0]
            path = line.split(" ")[1]
            if "/log" in path:
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n".encode())
                left = size
                while left:
                    writer.write(PIECE[:left])
                    left -= len(PIECE[:left])
                    await writer.drain()
                continue
            body = {"gitVersion": "v1.36.0", "major": "1", "minor": "36"} if path.startswith("/version") else {
                "kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "kube-system", "uid": "00000000-0000-0000-0000-000000000001"}}
            text = json.dumps(body)
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        writer.transport.abort()


async def main(port, chain, key, size):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = await asyncio.start_server(lambda r, w: serve(r, w, int(size)), "127.0.0.1", int(port), ssl=context, backlog=2048)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
