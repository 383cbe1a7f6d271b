"""A local address that adds a token to each request, for clients that have no option for one.

Nothing else is changed: the head of a request is passed on line by line, with `Authorization` added, the connection closed
after the answer, and our own address (in `Host` and `Origin`) replaced by the gateway's. Everything after the head is bytes.
"""

import asyncio
import threading

HEAD = 64 * 1024


class Adder:
    """Listens on a free port of the loopback interface from a thread of its own, until the block ends."""

    def __init__(self, issuer, token):
        self.theirs, self.token = issuer.removeprefix("http://"), token
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        listening = asyncio.start_server(self.pass_on, "127.0.0.1", 0, limit=HEAD)
        server = asyncio.run_coroutine_threadsafe(listening, self.loop).result()
        self.ours = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        return self

    def __exit__(self, *error):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def pass_on(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            host, port = self.theirs.split(":")
            answers, asking = await asyncio.open_connection(host, int(port))
            asking.write(self.with_token(head))
            ways = {asyncio.ensure_future(copy(reader, asking)), asyncio.ensure_future(copy(answers, writer))}
            # Whoever ends first, ends both: an answer that is over, or a client that left.
            _, other = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in other:
                way.cancel()
            asking.close()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def with_token(self, head):
        request, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        kept = [self.readdressed(line) for line in lines if not line.lower().startswith(b"connection:")]
        added = [b"Authorization: Bearer " + self.token.encode(), b"Connection: close"]
        return b"\r\n".join([request, *kept, *added, b"", b""])

    def readdressed(self, line):
        name = line.partition(b":")[0].lower()
        return line.replace(self.ours.encode(), self.theirs.encode()) if name in (b"host", b"origin") else line


async def copy(reader, writer):
    try:
        while chunk := await reader.read(HEAD):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
