"""A recorder in front of an API server: ends TLS with the server's own certificate, keeps every byte
of either way, and can put headers into the answers."""
import asyncio
import ssl
import threading
from urllib.parse import urlsplit


class Recorder:
    """Runs on a thread of its own until the program ends."""

    def __init__(self, facts, adds=b""):
        self.facts, self.adds = facts, adds
        self.up, self.down = bytearray(), bytearray()
        self.url, ready = "", threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve(ready)), daemon=True).start()
        ready.wait(10)

    async def serve(self, ready):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.facts["CLUSTER_PKI"] + "/apiserver.crt", self.facts["CLUSTER_PKI"] + "/apiserver.key")
        server = await asyncio.start_server(self.carry, "127.0.0.1", 0, ssl=context)
        self.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await server.serve_forever()

    async def carry(self, reader, writer):
        parts, trust = urlsplit(self.facts["CLUSTER_API"]), ssl.create_default_context(cafile=self.facts["CLUSTER_CA"])
        trust.check_hostname = False
        there, back = await asyncio.open_connection(parts.hostname, parts.port, ssl=trust)

        async def pump(source, sink, record, adds):
            try:
                while piece := await source.read(1 << 16):
                    if adds and piece.startswith(b"HTTP/1.1 "):
                        line, rest = piece.split(b"\r\n", 1)
                        piece = line + b"\r\n" + adds + rest
                    record += piece
                    sink.write(piece)
                    await sink.drain()
            except OSError:
                pass
            finally:
                sink.close()

        await asyncio.gather(pump(reader, back, self.up, b""), pump(there, writer, self.down, self.adds))
