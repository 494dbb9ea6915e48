"""redis-py against slotway: redis_py.py HOST PORT PROTOCOL. Prints what it checked; the first thing that is wrong ends
it with a traceback. The pool is the one that the product's promise names."""

import sys
import threading
import warnings

import redis
from redis import ConnectionPool, Redis

HOST, PORT, PROTOCOL = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
THREADS = 20
ROUNDS = 3


# setex is deprecated there, and what people use.
warnings.simplefilter("ignore", DeprecationWarning)


def new_pool():
    return ConnectionPool(
        host=HOST,
        port=PORT,
        protocol=PROTOCOL,
        decode_responses=True,
        max_connections=50,
        socket_connect_timeout=2,
        socket_timeout=2,
        retry_on_timeout=True,
        health_check_interval=30,
    )


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


def raises(part, call):
    try:
        got = call()
    except redis.ResponseError as error:
        assert part in str(error), f"{error!r} does not say {part!r}"
    else:
        raise AssertionError(f"got {got!r} instead of an error with {part!r}")


def strings(r, p):
    equal(r.setex(f"{p}:s", 100, "v"), True)
    assert 0 < r.ttl(f"{p}:s") <= 100
    equal(r.get(f"{p}:s"), "v")
    equal(r.get(f"{p}:nothing"), None)
    equal(r.incrby(f"{p}:n", 5), 5)
    equal(r.incrbyfloat(f"{p}:f", 1.5), 1.5)
    equal(r.set(f"{p}:s", "w", nx=True), None)
    equal(r.set(f"{p}:s", "w", get=True), "v")
    equal(r.expire(f"{p}:s", 50), True)
    big = "x" * 1_000_000
    r.set(f"{p}:big", big)
    equal(r.get(f"{p}:big"), big)


def several_slots(r, p):
    pairs = {f"{p}:m{i}": str(i) for i in range(50)}
    equal(r.mset(pairs), True)
    equal(r.mget([*pairs, f"{p}:nothing"]), [*pairs.values(), None])
    equal(r.exists(*pairs), 50)
    equal(r.touch(*pairs), 50)
    equal(r.unlink(*list(pairs)[:10]), 10)
    equal(r.delete(*pairs), 40)


def pipelines(r, p):
    pipe = r.pipeline(transaction=False)
    for i in range(200):
        pipe.set(f"{p}:p{i}", i)
    for i in range(200):
        pipe.get(f"{p}:p{i}")
    pipe.delete(*[f"{p}:p{i}" for i in range(200)])
    equal(pipe.execute(), [True] * 200 + [str(i) for i in range(200)] + [200])
    pipe = r.pipeline(transaction=False)
    pipe.set(f"{p}:s", "text").incr(f"{p}:s").get(f"{p}:s")
    ok, error, value = pipe.execute(raise_on_error=False)
    equal((ok, value), (True, "text"))
    assert isinstance(error, redis.ResponseError), error
    # A pipeline of redis-py is a transaction unless it says otherwise; one over several slots is refused whole.
    equal(r.pipeline().set(f"{p}:t", 1).incr(f"{p}:t").execute(), [True, 2])
    raises("same slot", lambda: r.pipeline().set(f"{p}:t", 5).set(f"{p}:u", 1).execute())
    equal(r.get(f"{p}:t"), "2")


def collections(r, p):
    equal(r.hset(f"{p}:h", mapping={"a": "1", "b": "2"}), 2)
    equal(r.hgetall(f"{p}:h"), {"a": "1", "b": "2"})
    equal(r.hmget(f"{p}:h", "a", "z"), ["1", None])
    equal(dict(r.hscan_iter(f"{p}:h")), {"a": "1", "b": "2"})
    equal(r.rpush(f"{p}:l", "a", "b", "c"), 3)
    equal(r.lrange(f"{p}:l", 0, -1), ["a", "b", "c"])
    equal(r.lpop(f"{p}:l"), "a")
    equal(r.sadd(f"{p}:set", "a", "b"), 2)
    equal(r.smembers(f"{p}:set"), {"a", "b"})
    equal(r.smismember(f"{p}:set", ["a", "z"]), [1, 0])
    equal(r.zadd(f"{p}:z", {"a": 1, "b": 2.5}), 2)
    with_scores = [list(pair) for pair in r.zrange(f"{p}:z", 0, -1, withscores=True)]
    equal(with_scores, [["a", 1.0], ["b", 2.5]])
    equal(r.zscore(f"{p}:z", "b"), 2.5)
    first = r.xadd(f"{p}:x", {"f": "v"})
    equal(r.xlen(f"{p}:x"), 1)
    equal(r.xrange(f"{p}:x"), [(first, {"f": "v"})])
    equal(r.xgroup_create(f"{p}:x", "group", id="0"), True)
    assert r.xreadgroup("group", "me", {f"{p}:x": ">"})
    equal(r.xack(f"{p}:x", "group", first), 1)
    equal(r.pfadd(f"{p}:hll", "a", "b"), 1)
    equal(r.pfcount(f"{p}:hll"), 2)
    equal(r.setbit(f"{p}:bits", 7, 1), 0)
    equal(r.geoadd(f"{p}:geo", (13.361389, 38.115556, "Palermo")), 1)
    equal(r.eval("return {KEYS[1], ARGV[1]}", 1, f"{p}:k", "a"), [f"{p}:k", "a"])
    script = r.register_script("return redis.call('GET', KEYS[1])")
    equal(script(keys=[f"{p}:n"]), "5")
    raises("same slot", lambda: r.sinter("a", "b", "c"))


def in_a_thread(client, number, errors):
    try:
        for turn in range(ROUNDS):
            p = f"thread{number}:{turn}"
            for check in (strings, several_slots, pipelines, collections):
                check(client, p)
    except BaseException as error:  # noqa: BLE001 - the main thread raises it again
        errors.append(error)


def server_as_a_whole(r):
    r.mset({f"whole:{i}": i for i in range(1000)})
    found = [*r.scan_iter(match="whole:*", count=100)]
    equal(len(found), 1000)
    equal(sorted(found), sorted(f"whole:{i}" for i in range(1000)))
    equal(len(r.keys("whole:*")), 1000)
    assert r.dbsize() >= 1000
    info = r.info()
    mode = info.get("server_mode", info.get("redis_mode"))
    equal((mode, info["role"], info["cluster_enabled"], info["loading"]), ("standalone", "master", 0, 0))
    assert info["redis_version"] and info["db0"]["keys"] >= 1000 and info["connected_clients"] >= 1, info
    assert "used_memory" in r.info("memory")
    equal(int(r.config_get("databases")["databases"]), 1)
    assert r.time() and r.lastsave()
    raises("", lambda: r.execute_command("SELECT", 1))
    raises("cluster support disabled", lambda: r.execute_command("CLUSTER NODES"))
    equal(r.select(0), True)
    assert r.randomkey()


def connection(pool):
    r = Redis(connection_pool=pool, single_connection_client=True)
    equal(r.ping(), True)
    equal(r.echo("hello"), "hello")
    equal(r.client_setname("redis-py"), True)
    equal(r.client_getname(), "redis-py")
    assert r.client_id() > 0
    info = r.client_info()
    equal((info["name"], info["lib-name"], info["resp"]), ("redis-py", "redis-py", str(PROTOCOL)))
    # What the health check does after 30 s without use.
    r.connection.next_health_check = 1e-9
    r.connection.check_health()
    equal(r.get("nothing"), None)
    r.close()


def main():
    print(f"redis-py {redis.__version__}, RESP{PROTOCOL}", flush=True)
    pool = new_pool()
    connection(pool)
    print("connect, names, health check", flush=True)
    client = Redis(connection_pool=pool)
    equal(client.flushall(), True)
    errors = []
    threads = [threading.Thread(target=in_a_thread, args=(client, i, errors)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    print(f"strings, several slots, pipelines, collections: {ROUNDS} rounds in {THREADS} threads", flush=True)
    server_as_a_whole(client)
    print("SCAN, INFO, DBSIZE, CONFIG GET", flush=True)
    plain = Redis.from_url(f"redis://{HOST}:{PORT}/0?protocol={PROTOCOL}")
    equal(plain.set("plain", b"\x00\xff\r\n"), True)
    equal(plain.get("plain"), b"\x00\xff\r\n")
    print("a plain client with bytes", flush=True)


main()
