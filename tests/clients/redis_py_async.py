"""asyncio redis-py against slotway: redis_py_async.py HOST PORT PROTOCOL. Prints what it checked; the first thing that
is wrong ends it with a traceback."""

import asyncio
import sys

import redis
import redis.asyncio

HOST, PORT, PROTOCOL = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
TASKS = 100


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


async def task(r, number):
    p = f"task{number}"
    equal(await r.set(f"{p}:s", "v", ex=100), True)
    equal(await r.get(f"{p}:s"), "v")
    pairs = {f"{p}:m{i}": str(i) for i in range(20)}
    equal(await r.mset(pairs), True)
    equal(await r.mget([*pairs]), [*pairs.values()])
    async with r.pipeline(transaction=False) as pipe:
        for key in pairs:
            pipe.get(key)
        equal(await pipe.execute(), [*pairs.values()])
    equal(await r.hset(f"{p}:h", mapping={"a": "1"}), 1)
    equal(await r.hgetall(f"{p}:h"), {"a": "1"})
    equal(await r.zadd(f"{p}:z", {"a": 1}), 1)
    equal([list(pair) for pair in await r.zrange(f"{p}:z", 0, -1, withscores=True)], [["a", 1.0]])
    equal(await r.delete(*pairs), 20)


async def main():
    print(f"asyncio redis-py {redis.__version__}, RESP{PROTOCOL}", flush=True)
    # More tasks than connections: they wait for one another.
    pool = redis.asyncio.BlockingConnectionPool(
        host=HOST, port=PORT, protocol=PROTOCOL, decode_responses=True, max_connections=20, timeout=60
    )
    r = redis.asyncio.Redis(connection_pool=pool)
    equal(await r.flushall(), True)
    await asyncio.gather(*(task(r, number) for number in range(TASKS)))
    print(f"strings, several slots, pipelines, collections in {TASKS} tasks", flush=True)
    found = [key async for key in r.scan_iter(match="task*:h")]
    equal(len(found), TASKS)
    assert (await r.info())["cluster_enabled"] == 0
    print("SCAN, INFO", flush=True)
    await r.aclose()
    await pool.disconnect()


asyncio.run(main())
