"""A TCP link between the nodes and Redis that can be slow or carry nothing. It changes no byte and breaks nothing off by itself."""

import asyncio
import threading

import machine


class Link:
    """Listens on a port of its own and carries to another, on a thread."""

    def __init__(self, port):
        self.to = port
        self.port = machine.free_port()
        self.address = f"127.0.0.1:{self.port}"
        # What comes from the server comes so much later, in seconds; nothing is reordered, and much can be on its way at once.
        self.delay = 0.0
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise machine.Failed("the link does not listen")

    def hole(self, is_hole):
        """Connections stay and new ones are taken, but no byte arrives until it is no hole any more; then all do."""
        self._loop.call_soon_threadsafe(self._open.clear if is_hole else self._open.set)

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self, ready):
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(self._carry, "127.0.0.1", self.port))
        ready.set()
        loop.run_forever()
        server.close()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    async def _carry(self, reader, writer):
        try:
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(self._pump(reader, far_writer, False), self._pump(far_reader, writer, True))
        except asyncio.CancelledError:
            # Only by `close`; asyncio would print it.
            return
        # One side has ended, in order or not: the other is told, as by a machine that is there.
        for side in (writer, far_writer):
            side.transport.abort()

    async def _pump(self, reader, writer, is_delayed):
        queue = asyncio.Queue(1024)

        async def take():
            try:
                while data := await reader.read(65536):
                    await queue.put((self._loop.time() + (self.delay if is_delayed else 0), data))
            except OSError:
                pass
            await queue.put((self._loop.time(), b""))

        taking = self._loop.create_task(take())
        try:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0, due - self._loop.time()))
                await self._open.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            taking.cancel()
            writer.close()
