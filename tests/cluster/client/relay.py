"""A relay between an agent and its gateway that breaks connections: when told, or after any number of bytes.

Owns where it breaks: bytes are counted both ways together and are TLS to it, so that a break falls
into a handshake, a frame's header, a message, or between two. It breaks by RST to both ends, as a
network does: what is in the sockets is lost.
"""
import asyncio
import random
import socket
import struct
import threading


class Relay:
    """Listens on a port of its own, in a thread of its own; breaks by itself only with a seed."""

    def __init__(self, port, seed=None, fewest=1_500, most=20_000):
        self.target, self.random, self.bounds = port, random.Random(seed), (fewest, most)
        self.breaks, self.breaking = 0, seed is not None
        self.carried, self.loop = set(), asyncio.new_event_loop()
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

    def cut(self):
        """Breaks every connection there is; says how many there were."""
        return asyncio.run_coroutine_threadsafe(self.cut_all(), self.loop).result(10)

    async def cut_all(self):
        carried = list(self.carried)
        for end in (end for both in carried for end in both):
            reset(end)
        return len(carried)

    async def accept(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        left, both = [self.random.randint(*self.bounds)], (writer, far_writer)
        ways = [asyncio.ensure_future(self.copy(*way, left)) for way in ((reader, far_writer), (far_reader, writer))]
        self.carried.add(both)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self.carried.discard(both)
        for end in both:
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
