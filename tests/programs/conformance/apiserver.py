"""An API server that answers as it is told: plain HTTP/1.1 on loopback.

Owns the requests that arrive, their bodies, and the answers piece by piece. The agent's own
questions (which cluster is this) it answers by itself.
"""
import asyncio
import json

OWN = {"/api/v1/namespaces/kube-system": {"kind": "Namespace", "metadata": {"uid": ""}},
       "/version": {"gitVersion": "v1.36.0"}}


class Request:
    """One request; its answer is given in pieces."""

    def __init__(self, line, headers, writer):
        self.method, target = line.split(" ")[:2]
        self.path, _, query = target.partition("?")
        self.query, self.headers = query or None, headers
        self.writer, self.chunked, self.answered = writer, True, False
        self.body, self.whole, self.gone = b"", False, False

    def header(self, name):
        return next((value for key, value in self.headers if key == name), "")

    def head(self, status, headers):
        self.chunked = status != 101
        lines = [f"HTTP/1.1 {status} As told", *(f"{name}: {value}" for name, value in headers)]
        lines += ["transfer-encoding: chunked"] if self.chunked else []
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")

    def data(self, payload):
        if payload:
            self.writer.write(b"%x\r\n%s\r\n" % (len(payload), payload) if self.chunked else payload)

    def end(self):
        if self.answered:
            return
        self.answered = True
        if self.chunked:
            self.writer.write(b"0\r\n\r\n")
        else:
            self.writer.write_eof()

    def abort(self):
        self.answered = True
        self.writer.transport.abort()


class ApiServer:
    def __init__(self, uid):
        self.arrived, self.uid, self.server, self.port = asyncio.Queue(), uid, None, 0

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    def stop(self):
        self.server.close()

    async def serve(self, reader, writer):
        request = None
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in head[1:] if line)]
                request = Request(head[0], headers, writer)
                if request.header("user-agent").startswith("pipeops-agent/"):
                    await self.body(reader, request)
                    self.own(request)
                    request = None
                    continue
                self.arrived.put_nowait(request)
                if request.header("upgrade"):
                    while piece := await reader.read(1 << 16):
                        request.body += piece
                    request.whole = True
                    return
                await self.body(reader, request)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            if request:
                request.gone = True
            # After an upgrade the other half may still be open.
            if not (request and request.header("upgrade") and request.whole):
                writer.close()

    @staticmethod
    async def body(reader, request):
        if request.header("transfer-encoding") == "chunked":
            while size := int((await reader.readline()).split(b";")[0], 16):
                while size:
                    piece = await reader.read(min(size, 1 << 16))
                    if not piece:
                        raise asyncio.IncompleteReadError(b"", size)
                    request.body += piece
                    size -= len(piece)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            request.body = await reader.readexactly(int(request.header("content-length") or 0))
        request.whole = True

    def own(self, request):
        """The agent's own questions; of what it asks beside these there is none."""
        found = OWN.get(request.path)
        if found and "metadata" in found:
            found = {**found, "metadata": {"uid": self.uid}}
        answer = json.dumps(found or {"kind": "Status", "code": 404}).encode()
        request.writer.write(b"HTTP/1.1 %d As told\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                             % (200 if found else 404, len(answer), answer))
