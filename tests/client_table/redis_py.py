"""The scenario groups with redis-py: redis_py.py HOST PORT PROTOCOL PREFIX. Prints `version …`, then `ok GROUP` or
`fail GROUP: why` for each group; prints `restart` and waits for a line where the server shall be restarted."""

import sys
import threading
import time

import redis

HOST, PORT, PROTOCOL, P = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
# Keys with it share a slot, keys without do not.
T = "{" + P + "}"


def client(**options):
    options = {"decode_responses": True, "socket_connect_timeout": 5, "socket_timeout": 20, **options}
    return redis.Redis(host=HOST, port=PORT, protocol=PROTOCOL, **options)


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


def pairs(scored):
    if scored and not isinstance(scored[0], (list, tuple)):
        scored = [scored]
    return [(name, float(score)) for name, score in scored]


def raises(part, call):
    try:
        got = call()
    except redis.RedisError as error:
        assert part in str(error), f"{error!r} does not say {part!r}"
    else:
        raise AssertionError(f"got {got!r} instead of an error with {part!r}")


def until(what, condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def connect(r):
    named = client(client_name="table", health_check_interval=30, max_connections=5)
    equal(named.client_getname(), "table")
    info = named.client_info()
    equal((info["name"], info["resp"]), ("table", str(PROTOCOL)))
    assert named.client_id() > 0
    url = redis.from_url(f"redis://{HOST}:{PORT}/0?protocol={PROTOCOL}")
    equal((url.ping(), url.echo("x")), (True, b"x"))
    equal(r.select(0), True)
    info = r.info()
    equal((info["role"], info["cluster_enabled"], info["loading"]), ("master", 0, 0))
    raises("", lambda: client(username="nobody", password="wrong").ping())
    raises("unknown command", lambda: r.execute_command("NOSUCHCOMMAND", "a"))


def strings(r):
    equal(r.set(f"{P}:s", "v"), True)
    equal((r.get(f"{P}:s"), r.get(f"{P}:none")), ("v", None))
    equal(r.set(f"{P}:s", "w", nx=True), None)
    equal(r.set(f"{P}:s", "w", ex=100, get=True), "v")
    assert 0 < r.ttl(f"{P}:s") <= 100
    equal((r.incrby(f"{P}:n", 5), r.decr(f"{P}:n"), r.incrbyfloat(f"{P}:f", 1.5)), (5, 4, 1.5))
    equal((r.append(f"{P}:a", "ab"), r.strlen(f"{P}:a"), r.getrange(f"{P}:a", 1, 1)), (2, 2, "b"))
    equal(r.mset({f"{P}:m{i}": i for i in range(20)}), True)
    equal(r.mget([*(f"{P}:m{i}" for i in range(20)), f"{P}:none"]), [*map(str, range(20)), None])
    equal(r.exists(*(f"{P}:m{i}" for i in range(20))), 20)
    equal(r.delete(*(f"{P}:m{i}" for i in range(20))), 20)
    equal((r.type(f"{P}:s"), r.getdel(f"{P}:s"), r.persist(f"{P}:s")), ("string", "w", False))
    raises("not an integer", lambda: r.incr(f"{P}:a"))
    binary = client(decode_responses=False)
    equal((binary.set(f"{P}:b", b"\x00\xff\r\n"), binary.get(f"{P}:b")), (True, b"\x00\xff\r\n"))


def hashes(r):
    k = f"{P}:h"
    equal(r.hset(k, mapping={"a": "1", "b": "2"}), 2)
    equal((r.hget(k, "a"), r.hget(k, "z"), r.hgetall(k)), ("1", None, {"a": "1", "b": "2"}))
    equal((r.hmget(k, "a", "z"), sorted(r.hkeys(k)), sorted(r.hvals(k))), (["1", None], ["a", "b"], ["1", "2"]))
    equal((r.hincrby(k, "a", 4), r.hincrbyfloat(k, "f", 0.5), r.hlen(k)), (5, 0.5, 3))
    equal((r.hexists(k, "a"), r.hdel(k, "f", "z"), r.hsetnx(k, "a", 1)), (True, 1, False))
    equal(dict(r.hscan_iter(k)), {"a": "5", "b": "2"})


def lists(r):
    k = f"{P}:l"
    equal((r.rpush(k, "b", "c"), r.lpush(k, "a"), r.llen(k)), (2, 3, 3))
    equal((r.lrange(k, 0, -1), r.lindex(k, 1), r.lpos(k, "c")), (["a", "b", "c"], "b", 2))
    equal((r.linsert(k, "before", "c", "x"), r.lrem(k, 1, "x"), r.lset(k, 0, "A")), (4, 1, True))
    equal(r.lmove(T + "none", T + "l", "LEFT", "RIGHT"), None)
    equal((r.lpop(k), r.rpop(k, 2), r.lpop(k), r.lpop(k, 2)), ("A", ["c", "b"], None, None))


def sets(r):
    equal((r.sadd(T + "1", "a", "b"), r.sadd(T + "2", "b", "c"), r.scard(T + "1")), (2, 2, 2))
    equal((r.smembers(T + "1"), r.sismember(T + "1", "a"), r.smismember(T + "1", ["a", "z"])), ({"a", "b"}, 1, [1, 0]))
    equal((r.sinter(T + "1", T + "2"), r.sunion(T + "1", T + "2")), ({"b"}, {"a", "b", "c"}))
    equal((r.sdiffstore(T + "3", T + "1", T + "2"), r.smove(T + "1", T + "2", "a")), (1, True))
    equal((set(r.sscan_iter(T + "2")), r.srem(T + "2", "a", "z"), r.spop(T + "3")), ({"a", "b", "c"}, 1, "a"))


def sorted_sets(r):
    k = T + "z"
    equal((r.zadd(k, {"a": 1, "b": 2.5, "c": 3}), r.zcard(k), r.zscore(k, "b"), r.zscore(k, "z")), (3, 3, 2.5, None))
    equal(pairs(r.zrange(k, 0, -1, withscores=True)), [("a", 1.0), ("b", 2.5), ("c", 3.0)])
    equal((r.zrangebyscore(k, "(1", "+inf"), r.zrevrange(k, 0, 0), r.zrank(k, "c")), (["b", "c"], ["c"], 2))
    equal((r.zincrby(k, 2, "a"), r.zcount(k, 2, 3), r.zmscore(k, ["a", "z"])), (3.0, 3, [3.0, None]))
    equal((r.zunionstore(T + "u", [k, T + "none"]), r.zrem(k, "a")), (3, 1))
    equal(sorted(r.zscan_iter(k)), [("b", 2.5), ("c", 3.0)])
    equal((pairs(r.zpopmin(k)), pairs(r.zpopmax(k)), r.zpopmin(k)), ([("b", 2.5)], [("c", 3.0)], []))


def entries(reply):
    """What XREAD gives: a list of pairs in RESP2, a map in RESP3."""
    if isinstance(reply, dict):
        return {name: ([*lists[0]] if lists and isinstance(lists[0], list) else lists) for name, lists in reply.items()}
    return {name: found for name, found in reply}


def streams(r):
    k = f"{P}:x"
    first, second = r.xadd(k, {"f": "1"}), r.xadd(k, {"f": "2"})
    equal((r.xlen(k), r.xrange(k), r.xrevrange(k, count=1)), (2, [(first, {"f": "1"}), (second, {"f": "2"})], [(second, {"f": "2"})]))
    equal(entries(r.xread({k: first})), {k: [(second, {"f": "2"})]})
    equal(r.xgroup_create(k, "g", id="0"), True)
    equal(entries(r.xreadgroup("g", "me", {k: ">"}, count=10)), {k: [(first, {"f": "1"}), (second, {"f": "2"})]})
    equal((r.xack(k, "g", first), r.xpending(k, "g")["pending"]), (1, 1))
    equal([g["name"] for g in r.xinfo_groups(k)], ["g"])
    equal((r.xtrim(k, maxlen=1, approximate=False), r.xdel(k, second)), (1, 1))
    equal(r.xread({f"{P}:nothing": "0"}) or None, None)


def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for i in range(200):
        pipe.set(f"{P}:p{i}", i)
    for i in range(200):
        pipe.get(f"{P}:p{i}")
    equal(pipe.execute(), [True] * 200 + [str(i) for i in range(200)])
    pipe = r.pipeline(transaction=False)
    pipe.set(f"{P}:t", "text").incr(f"{P}:t").get(f"{P}:t")
    ok, error, value = pipe.execute(raise_on_error=False)
    equal((ok, value), (True, "text"))
    assert isinstance(error, redis.ResponseError), error


def transactions(r):
    pipe = r.pipeline()
    pipe.set(T + "t", 1).incr(T + "t").get(T + "t").lpush(T + "tl", "a").lrange(T + "tl", 0, -1)
    equal(pipe.execute(), [True, 2, "2", 1, ["a"]])
    # An error while it runs does not undo the rest.
    pipe = r.pipeline()
    pipe.set(T + "t", "x").incr(T + "t").get(T + "t")
    ok, error, value = pipe.execute(raise_on_error=False)
    equal((ok, value), (True, "x"))
    assert "not an integer" in str(error), error
    # An error while it is queued undoes everything.
    pipe = r.pipeline()
    pipe.set(T + "t", "y").execute_command("INCR", T + "t", "too", "many")
    raises("wrong number of arguments", pipe.execute)
    equal(r.get(T + "t"), "x")
    equal(r.pipeline().execute(), [])
    one = client(single_connection_client=True)
    equal((one.execute_command("MULTI"), one.execute_command("INCR", T + "t"), one.execute_command("DISCARD")), ("OK", "QUEUED", "OK"))
    equal(one.get(T + "t"), "x")
    raises("EXEC without MULTI", lambda: one.execute_command("EXEC"))


def watch(r):
    k = T + "w"
    r.set(k, 1)
    tries = []

    def transfer(pipe):
        value = int(pipe.get(k))
        tries.append(value)
        if len(tries) == 1:
            r.set(k, 10)
        pipe.multi()
        pipe.set(k, value + 1)

    equal(r.transaction(transfer, k), [True])
    equal((tries, r.get(k)), ([1, 10], "11"))
    with r.pipeline() as pipe:
        pipe.watch(k)
        r.set(k, 5)
        pipe.multi()
        pipe.set(k, 6)
        try:
            pipe.execute()
            raise AssertionError("executed although the key had changed")
        except redis.WatchError:
            pass
        pipe.watch(k)
        r.set(k, 7)
        equal((pipe.get(k), pipe.unwatch()), ("7", True))
    equal(r.get(k), "7")


def scripts(r):
    equal(r.eval("return {KEYS[1], ARGV[1], 7}", 1, f"{P}:e", "a"), [f"{P}:e", "a", 7])
    equal(r.eval("redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])", 1, f"{P}:e", "v"), "v")
    equal((r.eval("return 1", 0), r.eval("return ARGV[1]", 0, "x")), (1, "x"))
    script = r.register_script(f"return redis.call('GET', KEYS[1]) .. '{P}'")
    equal((script(keys=[f"{P}:e"]), script(keys=[f"{P}:e"])), ("v" + P, "v" + P))
    sha = r.script_load(f"return ARGV[1] .. '{P}'")
    equal((r.script_exists(sha, "0" * 40), r.evalsha(sha, 1, f"{P}:e", "b")), ([True, False], "b" + P))
    raises("matching script", lambda: r.evalsha("0" * 40, 1, f"{P}:e"))
    raises("my error", lambda: r.eval("return redis.error_reply('my error')", 1, f"{P}:e"))


def push_soon(push):
    thread = threading.Timer(0.05, push)
    thread.start()
    return thread


def blocking(r):
    k = T + "b"
    equal(r.blpop(k, timeout=0.1), None)
    equal(r.rpush(k, "a", "b") and tuple(r.blpop([f"{P}:other", k], timeout=1)), (k, "a"))
    equal(r.blmove(k, T + "b2", 1), "b")
    equal(r.brpoplpush(T + "none", T + "b2", timeout=0.1), None)
    patient = client(socket_timeout=None)
    pusher = push_soon(lambda: r.rpush(k, "late"))
    equal(tuple(patient.blpop(k, timeout=0)), (k, "late"))
    pusher.join()
    # Keys of several slots.
    pusher = push_soon(lambda: r.rpush(f"{P}:q2", "late"))
    equal(tuple(patient.brpop([f"{P}:q1", f"{P}:q2", f"{P}:q3"], timeout=0)), (f"{P}:q2", "late"))
    pusher.join()
    equal(r.bzpopmin(T + "bz", timeout=0.1), None)
    r.zadd(T + "bz", {"m": 1})
    equal(tuple(r.bzpopmin(T + "bz", timeout=1)), (T + "bz", "m", 1.0))
    pusher = push_soon(lambda: r.xadd(T + "bx", {"f": "v"}))
    [(name, [(_, fields)])] = entries(patient.xread({T + "bx": "$"}, block=0)).items()
    equal((name, fields), (T + "bx", {"f": "v"}))
    pusher.join()


def pubsub(r):
    def message(p):
        found = []
        until("no message", lambda: found.append(p.get_message(timeout=1)) or found[-1])
        return found[-1]

    p = r.pubsub()
    p.subscribe(f"{P}:c1", f"{P}:c2")
    equal([(m["type"], m["data"]) for m in (message(p), message(p))], [("subscribe", 1), ("subscribe", 2)])
    p.psubscribe(f"{P}:*")
    equal((message(p)["type"], r.publish(f"{P}:c1", "hello")), ("psubscribe", 2))
    both = sorted((m["type"], m["channel"], m["data"]) for m in (message(p), message(p)))
    equal(both, [("message", f"{P}:c1", "hello"), ("pmessage", f"{P}:c1", "hello")])
    equal((r.pubsub_numsub(f"{P}:c1"), sorted(r.pubsub_channels(f"{P}:*"))), ([(f"{P}:c1", 1)], [f"{P}:c1", f"{P}:c2"]))
    # In RESP3 redis-py takes a PONG for a message.
    if PROTOCOL == 2:
        p.ping()
        equal(message(p)["type"], "pong")
    p.unsubscribe()
    p.punsubscribe()
    equal([message(p)["type"] for _ in range(3)], ["unsubscribe", "unsubscribe", "punsubscribe"])
    equal(r.publish(f"{P}:c1", "nobody"), 0)
    p.close()


def scan(r):
    wanted = {f"{P}:scan:{i}" for i in range(500)}
    pipe = r.pipeline(transaction=False)
    for key in wanted:
        pipe.set(key, "v")
    pipe.sadd(f"{P}:scan:set", "v")
    pipe.execute()
    equal(set(r.scan_iter(match=f"{P}:scan:[0-9]*", count=50)), wanted)
    equal(set(r.scan_iter(match=f"{P}:scan:*", count=1000, _type="set")), {f"{P}:scan:set"})
    equal(len(r.keys(f"{P}:scan:*")), 501)
    assert r.dbsize() >= 501 and r.randomkey()


def large(r):
    value = "0123456789abcdef" * (1 << 20)
    equal(r.set(f"{P}:large", value), True)
    assert r.get(f"{P}:large") == value
    equal(r.strlen(f"{P}:large"), 16 << 20)
    pieces = {f"{P}:large{i}": str(i) * 100_000 for i in range(20)}
    equal(r.mset(pieces), True)
    assert r.mget([*pieces]) == [*pieces.values()]
    many = [str(i) for i in range(50_000)]
    equal(r.rpush(f"{P}:many", *many), 50_000)
    assert r.lrange(f"{P}:many", 0, -1) == many
    r.delete(f"{P}:large", f"{P}:many", *pieces)


def reconnect(r):
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    r = client(retry=Retry(ConstantBackoff(0.02), 500))
    equal(r.set(f"{P}:r", 1), True)
    print("restart", flush=True)
    sys.stdin.readline()
    equal(r.set(f"{P}:r", 2), True)
    equal(r.get(f"{P}:r"), "2")


GROUPS = {
    "connect": connect, "strings": strings, "hashes": hashes, "lists": lists, "sets": sets,
    "sorted-sets": sorted_sets, "streams": streams, "pipelines": pipelines, "transactions": transactions,
    "watch": watch, "scripts": scripts, "blocking": blocking, "pubsub": pubsub, "scan": scan, "large": large,
    "reconnect": reconnect,
}


def main():
    print(f"version {redis.__version__}", flush=True)
    for name, group in GROUPS.items():
        try:
            group(client())
            print(f"ok {name}", flush=True)
        except Exception as error:  # noqa: BLE001 - said, and the next group has its turn
            where = error.__traceback__
            while where.tb_next and where.tb_next.tb_frame.f_code.co_filename == __file__:
                where = where.tb_next
            why = " ".join(f"line {where.tb_lineno}: {error!r}".split())
            print(f"fail {name}: {why[:600]}", flush=True)


main()
