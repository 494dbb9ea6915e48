"""The scenario groups with asyncio redis-py, as redis_py.py has them: redis_py_async.py HOST PORT PROTOCOL PREFIX."""

import asyncio
import sys

import redis
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

HOST, PORT, PROTOCOL, P = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
# Keys with it share a slot, keys without do not.
T = "{" + P + "}"


def client(**options):
    options = {"decode_responses": True, "socket_connect_timeout": 5, "socket_timeout": 20, **options}
    return aioredis.Redis(host=HOST, port=PORT, protocol=PROTOCOL, **options)


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


async def raises(part, awaitable):
    try:
        got = await awaitable
    except redis.RedisError as error:
        assert part in str(error), f"{error!r} does not say {part!r}"
    else:
        raise AssertionError(f"got {got!r} instead of an error with {part!r}")


async def connect(r):
    named = client(client_name="table", health_check_interval=30, max_connections=5)
    equal(await named.client_getname(), "table")
    info = await named.client_info()
    equal((info["name"], info["resp"]), ("table", str(PROTOCOL)))
    url = aioredis.from_url(f"redis://{HOST}:{PORT}/0?protocol={PROTOCOL}")
    equal((await url.ping(), await url.echo("x")), (True, b"x"))
    await url.aclose()
    await named.aclose()
    info = await r.info()
    equal((info["role"], info["cluster_enabled"], info["loading"]), ("master", 0, 0))
    await raises("unknown command", r.execute_command("NOSUCHCOMMAND", "a"))


async def strings(r):
    equal(await r.set(f"{P}:s", "v"), True)
    equal((await r.get(f"{P}:s"), await r.get(f"{P}:none")), ("v", None))
    equal(await r.set(f"{P}:s", "w", ex=100, get=True), "v")
    equal(await r.incrby(f"{P}:n", 5), 5)
    equal(await r.mset({f"{P}:m{i}": i for i in range(20)}), True)
    equal(await r.mget([f"{P}:m{i}" for i in range(20)]), [*map(str, range(20))])
    # All at once, over as many connections as the pool makes.
    equal(await asyncio.gather(*(r.incr(f"{P}:m{i}") for i in range(20))), [*range(1, 21)])
    equal(await r.delete(*(f"{P}:m{i}" for i in range(20))), 20)
    await raises("not an integer", r.incr(f"{P}:s"))


async def hashes(r):
    k = f"{P}:h"
    equal(await r.hset(k, mapping={"a": "1", "b": "2"}), 2)
    equal((await r.hget(k, "a"), await r.hgetall(k)), ("1", {"a": "1", "b": "2"}))
    equal((await r.hmget(k, "a", "z"), await r.hincrby(k, "a", 4), await r.hdel(k, "b")), (["1", None], 5, 1))
    equal({pair async for pair in r.hscan_iter(k)}, {("a", "5")})


async def lists(r):
    k = f"{P}:l"
    equal((await r.rpush(k, "b", "c"), await r.lpush(k, "a")), (2, 3))
    equal((await r.lrange(k, 0, -1), await r.lpop(k), await r.rpop(k, 2), await r.lpop(k)), (["a", "b", "c"], "a", ["c", "b"], None))


async def sets(r):
    equal((await r.sadd(T + "1", "a", "b"), await r.sadd(T + "2", "b", "c")), (2, 2))
    equal((await r.sinter(T + "1", T + "2"), await r.smismember(T + "1", ["a", "z"])), ({"b"}, [1, 0]))
    equal({member async for member in r.sscan_iter(T + "1")}, {"a", "b"})


async def sorted_sets(r):
    k = T + "z"
    equal((await r.zadd(k, {"a": 1, "b": 2.5}), await r.zscore(k, "b"), await r.zincrby(k, 2, "a")), (2, 2.5, 3.0))
    equal([(n, float(s)) for n, s in await r.zrange(k, 0, -1, withscores=True)], [("b", 2.5), ("a", 3.0)])
    equal((await r.zrangebyscore(k, "(2.5", "+inf"), await r.zrem(k, "a")), (["a"], 1))


async def streams(r):
    k = f"{P}:x"
    first = await r.xadd(k, {"f": "1"})
    equal(await r.xrange(k), [(first, {"f": "1"})])
    equal(await r.xgroup_create(k, "g", id="0"), True)
    reply = await r.xreadgroup("g", "me", {k: ">"}, count=10)
    assert first in str(reply), reply
    equal((await r.xack(k, "g", first), (await r.xpending(k, "g"))["pending"]), (1, 0))


async def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for i in range(200):
        pipe.set(f"{P}:p{i}", i)
    for i in range(200):
        pipe.get(f"{P}:p{i}")
    equal(await pipe.execute(), [True] * 200 + [str(i) for i in range(200)])
    pipe = r.pipeline(transaction=False)
    pipe.set(f"{P}:t", "text").incr(f"{P}:t").get(f"{P}:t")
    ok, error, value = await pipe.execute(raise_on_error=False)
    equal((ok, value, type(error)), (True, "text", redis.ResponseError))


async def transactions(r):
    async with r.pipeline() as pipe:
        equal(await pipe.set(T + "t", 1).incr(T + "t").get(T + "t").execute(), [True, 2, "2"])
        pipe.set(T + "t", "x").incr(T + "t").get(T + "t")
        ok, error, value = await pipe.execute(raise_on_error=False)
        equal((ok, value, type(error)), (True, "x", redis.ResponseError))
        pipe.set(T + "t", "y").execute_command("INCR", T + "t", "too", "many")
        await raises("wrong number of arguments", pipe.execute())
    equal(await r.get(T + "t"), "x")


async def watch(r):
    k = T + "w"
    await r.set(k, 1)
    tries = []

    async def transfer(pipe):
        tries.append(int(await pipe.get(k)))
        if len(tries) == 1:
            await r.set(k, 10)
        pipe.multi()
        pipe.set(k, tries[-1] + 1)

    equal(await r.transaction(transfer, k), [True])
    equal((tries, await r.get(k)), ([1, 10], "11"))


async def scripts(r):
    equal(await r.eval("return {KEYS[1], ARGV[1], 7}", 1, f"{P}:e", "a"), [f"{P}:e", "a", 7])
    equal(await r.eval("return ARGV[1]", 0, "x"), "x")
    script = r.register_script(f"redis.call('SET', KEYS[1], ARGV[1]); return ARGV[1] .. '{P}'")
    equal((await script(keys=[f"{P}:e"], args=["v"]), await r.get(f"{P}:e")), ("v" + P, "v"))
    sha = await r.script_load(f"return '{P}'")
    equal((await r.script_exists(sha, "0" * 40), await r.evalsha(sha, 0)), ([True, False], P))
    await raises("matching script", r.evalsha("0" * 40, 1, f"{P}:e"))


async def blocking(r):
    k = T + "b"

    async def push_soon(push):
        await asyncio.sleep(0.05)
        return await push()

    equal(await r.blpop(k, timeout=0.1), None)
    patient = client(socket_timeout=None)
    found, _ = await asyncio.gather(patient.blpop([k], timeout=0), push_soon(lambda: r.rpush(k, "late")))
    equal(tuple(found), (k, "late"))
    found, _ = await asyncio.gather(patient.brpop([f"{P}:q1", f"{P}:q2"], timeout=0), push_soon(lambda: r.rpush(f"{P}:q2", "late")))
    equal(tuple(found), (f"{P}:q2", "late"))
    # Given up while it waits: what is pushed then is not lost.
    waiting = asyncio.ensure_future(patient.blpop([k], timeout=0))
    await asyncio.sleep(0.05)
    waiting.cancel()
    try:
        await waiting
    except asyncio.CancelledError:
        pass
    await patient.connection_pool.disconnect()
    await asyncio.sleep(0.1)
    equal((await r.rpush(k, "kept"), await r.lpop(k)), (1, "kept"))
    await patient.aclose()


async def pubsub(r):
    async with r.pubsub() as p:
        async def message():
            while True:
                found = await p.get_message(timeout=10)
                if found is not None:
                    return found

        await p.subscribe(f"{P}:c1")
        await p.psubscribe(f"{P}:*")
        equal([(await message())["type"], (await message())["type"]], ["subscribe", "psubscribe"])
        equal(await r.publish(f"{P}:c1", "hello"), 2)
        both = [await message(), await message()]
        equal(sorted((m["type"], m["data"]) for m in both), [("message", "hello"), ("pmessage", "hello")])
        await p.unsubscribe()
        await p.punsubscribe()
        equal([(await message())["type"], (await message())["type"]], ["unsubscribe", "punsubscribe"])


async def scan(r):
    wanted = {f"{P}:scan:{i}" for i in range(300)}
    await r.mset({key: 1 for key in wanted})
    equal({key async for key in r.scan_iter(match=f"{P}:scan:*", count=50)}, wanted)


async def large(r):
    value = "0123456789abcdef" * (1 << 20)
    equal(await r.set(f"{P}:large", value), True)
    assert await r.get(f"{P}:large") == value
    await r.delete(f"{P}:large")


async def reconnect(_):
    r = client(retry=Retry(ConstantBackoff(0.02), 500))
    equal(await r.set(f"{P}:r", 1), True)
    print("restart", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    equal(await r.set(f"{P}:r", 2), True)
    equal(await r.get(f"{P}:r"), "2")
    await r.aclose()


GROUPS = {
    "connect": connect, "strings": strings, "hashes": hashes, "lists": lists, "sets": sets,
    "sorted-sets": sorted_sets, "streams": streams, "pipelines": pipelines, "transactions": transactions,
    "watch": watch, "scripts": scripts, "blocking": blocking, "pubsub": pubsub, "scan": scan, "large": large,
    "reconnect": reconnect,
}


async def main():
    print(f"version {redis.__version__}", flush=True)
    for name, group in GROUPS.items():
        r = client()
        try:
            await asyncio.wait_for(group(r), 30)
            print(f"ok {name}", flush=True)
        except Exception as error:  # noqa: BLE001 - said, and the next group has its turn
            print(f"fail {name}: {' '.join(repr(error).split())[:600]}", flush=True)
        await r.aclose()


asyncio.run(main())
