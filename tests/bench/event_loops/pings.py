"""A client outside: asks `/ping` every 50 ms until its input ends, then prints the times.

`pings PORT`. It does not wait for one answer before it asks again, so a server that stands still
for a second makes twenty slow answers and not one.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

EVERY_S = 0.05
ASK = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
asked: dict[int, tuple[float, float | None]] = {}  # when, and seconds to the answer


async def ping(number: int, port: int) -> None:
    """One question, on a connection of its own."""
    begun_s = time.monotonic()
    asked[number] = (begun_s, None)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(ASK)
        if b" 200 " in (await reader.read()).partition(b"\r\n")[0]:
            asked[number] = (begun_s, time.monotonic() - begun_s)
    finally:
        writer.close()


async def main() -> None:
    """Asks on and on."""
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    tasks: set[asyncio.Task[None]] = set()
    begun_s, number = time.monotonic(), 0
    while not ended.done():
        task = asyncio.create_task(ping(number, int(sys.argv[1])))
        tasks.add(task)
        number += 1
        await asyncio.sleep(max(0.0, begun_s + number * EVERY_S - time.monotonic()))
    _, late = await asyncio.wait(tasks, timeout=EVERY_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps({"ended_s": time.monotonic(), "asked": list(asked.values())}))


if __name__ == "__main__":
    asyncio.run(main())
