"""Carries the connections of an agent to its gateway, until they are cut.

Owns a thread with a loop of its own. A cut is an RST to both ends: what is in the sockets is lost,
wherever in a message that is.
"""
import asyncio
"""A relay between an agent and its gateway that breaks the connection after any number of bytes.

Owns where it breaks: bytes are counted both ways together and are TLS to it, so that a break falls
into a handshake, a frame's header, a message, or between two. It breaks by RST, as a network does.
"""
import asyncio
import random
import socket
import struct
import threading


class Relay:
    def __init__(self, port):
        self.to, self.port = port, None
        self.carried, self.loop = set(), asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        ready.wait(10)

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._carry, "127.0.0.1", 0))
    """Listens on a port of its own, in a thread of its own."""

    def __init__(self, port, seed, fewest=1_500, most=20_000):
        self.target, self.random, self.bounds = port, random.Random(seed), (fewest, most)
        self.breaks, self.breaking = 0, True
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self.serve, args=(ready,), daemon=True).start()
        if not ready.wait(10):
            raise TimeoutError("the relay does not listen")

    def serve(self, ready):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self.accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    async def _carry(self, near_reader, near):
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            near.close()
            return
        both = (near, far)
        self.carried.add(both)
        try:
            await asyncio.gather(self._pump(near_reader, far), self._pump(far_reader, near))
        finally:
            self.carried.discard(both)

    async def _pump(self, reader, writer):
        try:
            while piece := await reader.read(16 * 1024):
                writer.write(piece)
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()

    def cut(self):
        """Says how many connections were cut."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self.loop).result(10)

    async def _cut(self):
        cut = list(self.carried)
        for writer in (one for both in cut for one in both):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return len(cut)
    async def accept(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        left = [self.random.randint(*self.bounds)]
        ways = [asyncio.ensure_future(self.copy(*way, left)) for way in ((reader, far_writer), (far_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, far_writer):
            reset(end)
        for way in ways:
            way.cancel()

    async def copy(self, reader, writer, left):
        try:
            while piece := await reader.read(16_384):
                if self.breaking and len(piece) >= left[0]:
                    writer.write(piece[:left[0]])
                    await writer.drain()
                    self.breaks += 1
                    return
                left[0] -= len(piece)
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass


def reset(writer):
    """Closes so that the peer sees a reset; what the kernel has not sent is lost."""
    plain = writer.get_extra_info("socket")
    if plain is not None and plain.fileno() >= 0:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
