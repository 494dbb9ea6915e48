<?php
// The scenario groups with phpredis: phpredis.php HOST PORT PROTOCOL PREFIX. Prints `version …`, then `ok GROUP` or
// `fail GROUP: why` for each group; prints `restart` and waits for a line where the server shall be restarted.
// What must come from another client while this one waits is sent by a process of its own.
error_reporting(E_ALL & ~E_DEPRECATED);
set_error_handler(function ($_, $message, $file, $line) {
    if (!(error_reporting() & $_)) return false;
    throw new RuntimeException("$message at line $line");
});
[, $host, $port, , $p] = $argv;
const GROUP_SECONDS = 20;
$t = '{' . $p . '}'; // keys with it share a slot, keys without do not

function client(array $options = []): Redis
{
    global $host, $port;
    $r = new Redis();
    $r->connect($host, (int) $port, 5, null, 100, GROUP_SECONDS);
    foreach ($options as $name => $value) $r->setOption($name, $value);
    return $r;
}

function equal($got, $wanted): void
{
    if ($got !== $wanted) throw new RuntimeException('got ' . json_encode($got) . ', wanted ' . json_encode($wanted));
}

// An error reply is an exception, or false and a last error.
function raises(string $part, Redis $r, callable $call): void
{
    $r->clearLastError();
    try {
        $got = $call();
        $error = $r->getLastError();
    } catch (RedisException $e) {
        $got = null;
        $error = $e->getMessage();
    }
    if (strpos((string) $error, $part) === false) {
        throw new RuntimeException('got ' . json_encode($got) . " and the error $error instead of one with $part");
    }
}

// Sends one command a little later.
function soon(string ...$command)
{
    global $host, $port;
    $call = '$r = new Redis(); usleep(50000); $r->connect($argv[1], (int) $argv[2]); $r->rawCommand(...array_slice($argv, 3));';
    return proc_open([PHP_BINARY, '-r', $call, '--', $host, $port, ...$command], [], $pipes);
}

$groups = [
    'connect' => function (Redis $r) use ($p, $host, $port) {
        equal([$r->ping('x'), $r->echo('y'), $r->select(0)], ['x', 'y', true]);
        equal([$r->client('setname', 'table'), $r->client('getname')], [true, 'table']);
        equal($r->info()['role'], 'master');
        $prefixed = client([Redis::OPT_PREFIX => "$p:prefix:", Redis::OPT_SERIALIZER => Redis::SERIALIZER_PHP]);
        equal([$prefixed->set('a', ['x' => 1]), $prefixed->get('a')], [true, ['x' => 1]]);
        equal(is_string($r->get("$p:prefix:a")), true);
        $persistent = new Redis();
        equal($persistent->pconnect($host, (int) $port, 5, 'table'), true);
        equal($persistent->ping(), true);
        raises('unknown command', $r, fn () => $r->rawCommand('NOSUCHCOMMAND', 'a'));
    },
    'strings' => function (Redis $r) use ($p) {
        equal([$r->set("$p:s", 'v'), $r->get("$p:s"), $r->get("$p:none")], [true, 'v', false]);
        equal([$r->set("$p:s", 'w', ['nx']), $r->setex("$p:s", 100, 'w')], [false, true]);
        equal([$r->incrBy("$p:n", 5), $r->decr("$p:n"), $r->incrByFloat("$p:f", 1.5)], [5, 4, 1.5]);
        $pairs = [];
        foreach (range(0, 19) as $i) $pairs["$p:m$i"] = (string) $i;
        equal([$r->mset($pairs), $r->mget([...array_keys($pairs), "$p:none"])], [true, [...array_values($pairs), false]]);
        equal([$r->exists(...array_keys($pairs)), $r->del(array_keys($pairs))], [20, 20]);
        raises('not an integer', $r, fn () => $r->incr("$p:s"));
    },
    'hashes' => function (Redis $r) use ($p) {
        equal([$r->hMSet("$p:h", ['a' => '1', 'b' => '2']), $r->hGetAll("$p:h")], [true, ['a' => '1', 'b' => '2']]);
        equal([$r->hMGet("$p:h", ['a', 'z']), $r->hIncrBy("$p:h", 'a', 4), $r->hDel("$p:h", 'b')], [['a' => '1', 'z' => false], 5, 1]);
        $cursor = null;
        equal($r->hScan("$p:h", $cursor), ['a' => '5']);
    },
    'lists' => function (Redis $r) use ($p) {
        equal([$r->rPush("$p:l", 'b', 'c'), $r->lPush("$p:l", 'a'), $r->lRange("$p:l", 0, -1)], [2, 3, ['a', 'b', 'c']]);
        equal([$r->lPop("$p:l"), $r->rPop("$p:l"), $r->lLen("$p:l")], ['a', 'c', 1]);
    },
    'sets' => function (Redis $r) use ($t) {
        equal([$r->sAdd($t . '1', 'a', 'b'), $r->sAdd($t . '2', 'b', 'c')], [2, 2]);
        equal([$r->sInter($t . '1', $t . '2'), $r->sIsMember($t . '1', 'z'), $r->sCard($t . '1')], [['b'], false, 2]);
    },
    'sorted-sets' => function (Redis $r) use ($t) {
        equal([$r->zAdd($t . 'z', 1, 'a', 2.5, 'b'), $r->zScore($t . 'z', 'b'), $r->zIncrBy($t . 'z', 2, 'a')], [2, 2.5, 3.0]);
        equal([$r->zRange($t . 'z', 0, -1, true), $r->zPopMin($t . 'z')], [['b' => 2.5, 'a' => 3.0], ['b' => 2.5]]);
    },
    'streams' => function (Redis $r) use ($p) {
        $id = $r->xAdd("$p:x", '*', ['f' => '1']);
        equal([$r->xLen("$p:x"), $r->xRange("$p:x", '-', '+')], [1, [$id => ['f' => '1']]]);
        equal($r->xGroup('CREATE', "$p:x", 'g', '0'), true);
        equal([$r->xReadGroup('g', 'me', ["$p:x" => '>']), $r->xAck("$p:x", 'g', [$id])], [["$p:x" => [$id => ['f' => '1']]], 1]);
    },
    'pipelines' => function (Redis $r) use ($p) {
        $pipe = $r->pipeline();
        foreach (range(0, 199) as $i) $pipe->set("$p:p$i", (string) $i);
        foreach (range(0, 199) as $i) $pipe->get("$p:p$i");
        equal($pipe->exec(), [...array_fill(0, 200, true), ...array_map('strval', range(0, 199))]);
    },
    'transactions' => function (Redis $r) use ($t) {
        equal($r->multi()->set($t . 't', '1')->incr($t . 't')->get($t . 't')->exec(), [true, 2, '2']);
        equal($r->multi()->set($t . 't', 'x')->incr($t . 't')->get($t . 't')->exec(), [true, false, 'x']);
        $r->multi()->set($t . 't', 'y');
        equal([$r->discard(), $r->get($t . 't')], [true, 'x']);
        // All in one write.
        equal($r->multi(Redis::PIPELINE)->set($t . 't', 'z')->get($t . 't')->exec(), [true, 'z']);
    },
    'watch' => function (Redis $r) use ($t) {
        $k = $t . 'w';
        $r->set($k, 1);
        $tries = [];
        do {
            $r->watch($k);
            $tries[] = (int) $r->get($k);
            if (count($tries) === 1) client()->set($k, 10);
            $done = $r->multi()->set($k, end($tries) + 1)->exec();
        } while ($done === false);
        equal([$tries, $r->get($k), $r->watch($k), $r->unwatch()], [[1, 10], '11', true, true]);
    },
    'scripts' => function (Redis $r) use ($p) {
        equal($r->eval('return {KEYS[1], ARGV[1], 7}', ["$p:e", 'a'], 1), ["$p:e", 'a', 7]);
        equal($r->eval('return ARGV[1]', ['x'], 0), 'x');
        $sha = $r->script('load', "return ARGV[1] .. '$p'");
        equal([$r->script('exists', $sha), $r->evalSha($sha, ["$p:e", 'b'], 1)], [[1], 'b' . $p]);
        raises('NOSCRIPT', $r, fn () => $r->evalSha(str_repeat('0', 40), ["$p:e"], 1));
    },
    'blocking' => function (Redis $r) use ($p, $t) {
        equal($r->blPop([$t . 'b'], 1), []);
        $other = soon('RPUSH', $t . 'b', 'late');
        equal($r->blPop([$t . 'b'], 0), [$t . 'b', 'late']);
        proc_close($other);
        $other = soon('RPUSH', "$p:q2", 'late');
        equal($r->brPop(["$p:q1", "$p:q2"], 0), ["$p:q2", 'late']);
        proc_close($other);
        $r->rPush($t . 'b', 'm');
        equal($r->brpoplpush($t . 'b', $t . 'b2', 1), 'm');
    },
    'pubsub' => function (Redis $r) use ($p) {
        $other = soon('PUBLISH', "$p:c1", 'hello');
        $heard = [];
        // The way out of its loop is to close the connection, which it calls an error.
        try {
            $r->subscribe(["$p:c1", "$p:c2"], function (Redis $r, $channel, $message) use (&$heard) {
                $heard[] = [$channel, $message];
                $r->close();
            });
        } catch (RedisException $_) {
        }
        proc_close($other);
        equal($heard, [["$p:c1", 'hello']]);
        $r = client();
        while ($r->publish("$p:c1", 'nobody') !== 0) usleep(1000);
        equal($r->pubsub('numsub', ["$p:c1"]), ["$p:c1" => 0]);
    },
    'scan' => function (Redis $r) use ($p) {
        $pairs = [];
        foreach (range(0, 299) as $i) $pairs["$p:scan:$i"] = '1';
        $r->mset($pairs);
        $r->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
        $found = [];
        for ($cursor = null; ($keys = $r->scan($cursor, "$p:scan:*", 50)) !== false;) {
            foreach ($keys as $key) $found[$key] = '1';
        }
        ksort($found);
        ksort($pairs);
        equal($found, $pairs);
    },
    'large' => function (Redis $r) use ($p) {
        $value = str_repeat('0123456789abcdef', 1 << 20);
        equal([$r->set("$p:large", $value), $r->get("$p:large") === $value, $r->del("$p:large")], [true, true, 1]);
    },
    'reconnect' => function (Redis $r) use ($p) {
        $r->setOption(Redis::OPT_MAX_RETRIES, 10);
        equal($r->set("$p:r", '1'), true);
        echo "restart\n";
        fgets(STDIN);
        // It reconnects by itself.
        equal([$r->set("$p:r", '2'), $r->get("$p:r")], [true, '2']);
    },
];

echo 'version ', phpversion('redis'), "\n";
foreach ($groups as $name => $group) {
    try {
        $group(client());
        echo "ok $name\n";
    } catch (Throwable $e) {
        $why = get_class($e) . ' ' . $e->getMessage() . ' at line ' . $e->getLine();
        echo "fail $name: ", substr(preg_replace('/\s+/', ' ', $why), 0, 600), "\n";
    }
}
