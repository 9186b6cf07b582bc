#!/usr/bin/env python3
"""A TLS proxy that damages what an API server says: the control of the parity check.

    tamper.py ENV-FILE none|header|byte

Prints its port. `header` takes away every Warning header; `byte` takes away one byte of each
connection, the millionth that comes down; `none` passes everything, to show that the damage, and not
the proxy, is what a comparison sees.
"""
import asyncio
import re
import ssl
import sys
import urllib.parse

WHERE = 1_000_000


def facts(path):
    with open(path, encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split("=", 1) for line in lines if "=" in line)


async def pump(reader, writer, damage):
    passed = 0
    try:
        while data := await reader.read(1 << 16):
            at = WHERE - passed
            passed += len(data)
            if damage == "byte" and 0 <= at < len(data):
                data = data[:at] + data[at + 1:]
            elif damage == "header":
                data = re.sub(rb"\r\nWarning: [^\r\n]*", b"", data)
            writer.write(data)
            await writer.drain()
        writer.write_eof() if writer.can_write_eof() else writer.close()
    except (OSError, ssl.SSLError):
        writer.close()


async def main(env, damage):
    known = facts(env)
    upstream = urllib.parse.urlsplit(known["CLUSTER_API"])
    trust = ssl.create_default_context(cafile=known["CLUSTER_CA"])
    # The server's own certificate names the loopback too, so kubectl needs no other trust.
    identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    identity.load_cert_chain(known["CLUSTER_PKI"] + "/apiserver.crt", known["CLUSTER_PKI"] + "/apiserver.key")

    async def serve(reader, writer):
        try:
            down, up = await asyncio.open_connection(upstream.hostname, upstream.port, ssl=trust)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, up, "none"), pump(down, writer, damage))
        up.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=identity)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if len(sys.argv) != 3 or sys.argv[2] not in ("none", "header", "byte"):
    raise SystemExit(__doc__)
asyncio.run(main(*sys.argv[1:]))
