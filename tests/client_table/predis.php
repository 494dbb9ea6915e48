<?php
// The scenario groups with predis: predis.php HOST PORT PROTOCOL PREFIX. Prints `version …`, then `ok GROUP` or
// `fail GROUP: why` for each group; prints `restart` and waits for a line where the server shall be restarted.
// What must come from another client while this one waits is sent by a process of its own.
error_reporting(E_ALL & ~E_DEPRECATED);
set_error_handler(function ($_, $message, $file, $line) {
    if (!(error_reporting() & $_)) return false;
    throw new RuntimeException("$message at line $line");
});
const LIBRARY = '/usr/share/php/Predis/autoload.php';
require LIBRARY;

use Predis\Client;
use Predis\Connection\ConnectionException;
use Predis\Response\ServerException;
use Predis\Transaction\AbortedMultiExecException;

[, $host, $port, , $p] = $argv;
const GROUP_SECONDS = 20;
$t = '{' . $p . '}'; // keys with it share a slot, keys without do not

function client(array $parameters = [], array $options = []): Client
{
    global $host, $port;
    // As frameworks open it: SELECT comes with the connection.
    $server = ['host' => $host, 'port' => (int) $port, 'timeout' => 5, 'read_write_timeout' => GROUP_SECONDS, 'database' => 0];
    return new Client($parameters + $server, $options);
}

function equal($got, $wanted): void
{
    if ($got !== $wanted) throw new RuntimeException('got ' . json_encode($got) . ', wanted ' . json_encode($wanted));
}

function raises(string $part, callable $call): void
{
    try {
        $got = $call();
    } catch (ServerException $e) {
        if (strpos($e->getMessage(), $part) !== false) return;
        throw $e;
    }
    throw new RuntimeException('got ' . json_encode($got) . " instead of an error with $part");
}

// Sends one command a little later.
function soon(string ...$command)
{
    global $host, $port;
    $call = 'require $argv[1]; usleep(50000); $r = new Predis\Client(["host" => $argv[2], "port" => (int) $argv[3]]);'
        . '$r->executeRaw(array_slice($argv, 4));';
    return proc_open([PHP_BINARY, '-d', 'error_reporting=0', '-r', $call, '--', LIBRARY, $host, $port, ...$command], [], $pipes);
}

$groups = [
    'connect' => function (Client $r) use ($p, $host, $port) {
        equal([(string) $r->ping(), $r->echo('y'), (string) $r->select(0)], ['PONG', 'y', 'OK']);
        equal([(string) $r->client('setname', 'table'), $r->client('getname')], ['OK', 'table']);
        equal($r->info()['Replication']['role'], 'master');
        $prefixed = client([], ['prefix' => "$p:prefix:"]);
        equal([(string) $prefixed->set('a', 'x'), $prefixed->get('a'), $r->get("$p:prefix:a")], ['OK', 'x', 'x']);
        $url = new Client("tcp://$host:$port?database=0");
        equal((string) $url->ping(), 'PONG');
        $persistent = client(['persistent' => true]);
        equal((string) $persistent->ping(), 'PONG');
        equal(strpos($r->executeRaw(['NOSUCHCOMMAND', 'a'], $error), 'ERR unknown command'), 0);
        equal($error, true);
    },
    'strings' => function (Client $r) use ($p) {
        equal([(string) $r->set("$p:s", 'v'), $r->get("$p:s"), $r->get("$p:none")], ['OK', 'v', null]);
        equal([$r->set("$p:s", 'w', 'NX'), (string) $r->setex("$p:s", 100, 'w')], [null, 'OK']);
        equal([$r->incrby("$p:n", 5), $r->decr("$p:n"), $r->incrbyfloat("$p:f", 1.5)], [5, 4, '1.5']);
        $pairs = [];
        foreach (range(0, 19) as $i) $pairs["$p:m$i"] = (string) $i;
        equal((string) $r->mset($pairs), 'OK');
        equal($r->mget([...array_keys($pairs), "$p:none"]), [...array_values($pairs), null]);
        equal([$r->exists(...array_keys($pairs)), $r->del(array_keys($pairs))], [20, 20]);
        raises('not an integer', fn () => $r->incr("$p:s"));
    },
    'hashes' => function (Client $r) use ($p) {
        equal([(string) $r->hmset("$p:h", ['a' => '1', 'b' => '2']), $r->hgetall("$p:h")], ['OK', ['a' => '1', 'b' => '2']]);
        equal([$r->hmget("$p:h", ['a', 'z']), $r->hincrby("$p:h", 'a', 4), $r->hdel("$p:h", ['b'])], [['1', null], 5, 1]);
        equal($r->hscan("$p:h", 0), ['0', ['a' => '5']]);
    },
    'lists' => function (Client $r) use ($p) {
        equal([$r->rpush("$p:l", ['b', 'c']), $r->lpush("$p:l", ['a']), $r->lrange("$p:l", 0, -1)], [2, 3, ['a', 'b', 'c']]);
        equal([$r->lpop("$p:l"), $r->rpop("$p:l"), $r->llen("$p:l")], ['a', 'c', 1]);
    },
    'sets' => function (Client $r) use ($t) {
        equal([$r->sadd($t . '1', ['a', 'b']), $r->sadd($t . '2', ['b', 'c'])], [2, 2]);
        equal([$r->sinter([$t . '1', $t . '2']), $r->sismember($t . '1', 'z'), $r->scard($t . '1')], [['b'], 0, 2]);
    },
    'sorted-sets' => function (Client $r) use ($t) {
        equal([$r->zadd($t . 'z', ['a' => 1, 'b' => 2.5]), $r->zscore($t . 'z', 'b'), $r->zincrby($t . 'z', 2, 'a')], [2, '2.5', '3']);
        equal($r->zrange($t . 'z', 0, -1, 'WITHSCORES'), ['b' => '2.5', 'a' => '3']);
        equal([$r->zrank($t . 'z', 'a'), $r->zrem($t . 'z', 'b')], [1, 1]);
    },
    'streams' => function (Client $r) use ($p) {
        // This version has no methods for them.
        $id = $r->executeRaw(['XADD', "$p:x", '*', 'f', '1']);
        equal([$r->executeRaw(['XLEN', "$p:x"]), $r->executeRaw(['XRANGE', "$p:x", '-', '+'])], [1, [[$id, ['f', '1']]]]);
        equal($r->executeRaw(['XGROUP', 'CREATE', "$p:x", 'g', '0']), 'OK');
        equal($r->executeRaw(['XREADGROUP', 'GROUP', 'g', 'me', 'STREAMS', "$p:x", '>']), [["$p:x", [[$id, ['f', '1']]]]]);
        equal($r->executeRaw(['XACK', "$p:x", 'g', $id]), 1);
    },
    'pipelines' => function (Client $r) use ($p) {
        $replies = $r->pipeline(function ($pipe) use ($p) {
            foreach (range(0, 199) as $i) $pipe->set("$p:p$i", (string) $i);
            foreach (range(0, 199) as $i) $pipe->get("$p:p$i");
        });
        equal(array_map('strval', $replies), [...array_fill(0, 200, 'OK'), ...array_map('strval', range(0, 199))]);
    },
    'transactions' => function (Client $r) use ($t) {
        $transaction = fn (string $value) => $r->transaction(['exceptions' => false], function ($tx) use ($t, $value) {
            $tx->set($t . 't', $value);
            $tx->incr($t . 't');
            $tx->get($t . 't');
        });
        equal(array_map('strval', $transaction('1')), ['OK', '2', '2']);
        equal(array_slice(array_map('strval', $transaction('x')), 2), ['x']);
        $r->transaction(function ($tx) use ($t) {
            $tx->set($t . 't', 'y');
            $tx->discard();
        });
        equal($r->get($t . 't'), 'x');
        // All in one write.
        $replies = $r->pipeline(['atomic' => true], function ($pipe) use ($t) {
            $pipe->set($t . 't', 'z');
            $pipe->get($t . 't');
        });
        equal(array_map('strval', $replies), ['OK', 'z']);
    },
    'watch' => function (Client $r) use ($t) {
        $k = $t . 'w';
        $r->set($k, 1);
        $seen = [];
        $r->transaction(['watch' => $k, 'cas' => true, 'retry' => 3], function ($tx) use ($k, &$seen) {
            $seen[] = (int) $tx->get($k);
            if (count($seen) === 1) client()->set($k, 10);
            $tx->multi();
            $tx->set($k, end($seen) + 1);
        });
        equal([$seen, $r->get($k), (string) $r->watch($k), (string) $r->unwatch()], [[1, 10], '11', 'OK', 'OK']);
        try {
            $r->transaction(['watch' => $k, 'cas' => true], function ($tx) use ($k) {
                $tx->get($k); // which sends WATCH first
                client()->set($k, 20);
                $tx->multi();
                $tx->get($k);
            });
            throw new RuntimeException('a transaction whose key had changed was carried out');
        } catch (AbortedMultiExecException $_) {
        }
    },
    'scripts' => function (Client $r) use ($p) {
        equal($r->eval('return {KEYS[1], ARGV[1], 7}', 1, "$p:e", 'a'), ["$p:e", 'a', 7]);
        equal($r->eval('return ARGV[1]', 0, 'x'), 'x');
        $sha = $r->script('load', "return ARGV[1] .. '$p'");
        equal([$r->script('exists', $sha), $r->evalsha($sha, 1, "$p:e", 'b')], [[1], 'b' . $p]);
        raises('NOSCRIPT', fn () => $r->evalsha(str_repeat('0', 40), 1, "$p:e"));
    },
    'blocking' => function (Client $r) use ($p, $t) {
        equal($r->blpop([$t . 'b'], 1), null);
        $other = soon('RPUSH', $t . 'b', 'late');
        equal($r->blpop([$t . 'b'], 0), [$t . 'b', 'late']);
        proc_close($other);
        $other = soon('RPUSH', "$p:q2", 'late');
        equal($r->brpop(["$p:q1", "$p:q2"], 0), ["$p:q2", 'late']);
        proc_close($other);
        $r->rpush($t . 'b', ['m']);
        equal($r->brpoplpush($t . 'b', $t . 'b2', 1), 'm');
    },
    'pubsub' => function (Client $r) use ($p) {
        $heard = [];
        $loop = client()->pubSubLoop();
        $loop->subscribe("$p:c1", "$p:c2");
        $loop->psubscribe("$p:d*");
        $confirmed = 0;
        foreach ($loop as $message) {
            if ($message->kind === 'subscribe' || $message->kind === 'psubscribe') {
                if (++$confirmed === 3) equal([$r->publish("$p:c1", 'hello'), $r->publish("$p:d1", 'you')], [1, 1]);
                continue;
            }
            $heard[$message->channel] = $message->payload;
            if (count($heard) === 2) break;
        }
        equal([$heard["$p:c1"], $heard["$p:d1"]], ['hello', 'you']);
        $loop->stop(true);
        while ($r->publish("$p:c1", 'nobody') !== 0) usleep(1000);
        equal($r->pubsub('numsub', "$p:c1"), ["$p:c1" => 0]);
    },
    'scan' => function (Client $r) use ($p) {
        $pairs = [];
        foreach (range(0, 299) as $i) $pairs["$p:scan:$i"] = '1';
        $r->mset($pairs);
        $found = [];
        foreach (new Predis\Collection\Iterator\Keyspace($r, "$p:scan:*", 50) as $key) $found[$key] = '1';
        ksort($found);
        ksort($pairs);
        equal($found, $pairs);
    },
    'large' => function (Client $r) use ($p) {
        $value = str_repeat('0123456789abcdef', 1 << 20);
        equal([(string) $r->set("$p:large", $value), $r->get("$p:large") === $value, $r->del("$p:large")], ['OK', true, 1]);
    },
    'reconnect' => function (Client $r) use ($p) {
        equal((string) $r->set("$p:r", '1'), 'OK');
        echo "restart\n";
        fgets(STDIN);
        // It notices, and opens a new connection for the next command.
        try {
            $r->get("$p:r");
        } catch (ConnectionException $_) {
        }
        equal([(string) $r->set("$p:r", '2'), $r->get("$p:r")], ['OK', '2']);
    },
];

echo 'version ', Client::VERSION, "\n";
foreach ($groups as $name => $group) {
    try {
        $group(client());
        echo "ok $name\n";
    } catch (Throwable $e) {
        $why = get_class($e) . ' ' . $e->getMessage() . ' at line ' . $e->getLine();
        echo "fail $name: ", substr(preg_replace('/\s+/', ' ', $why), 0, 600), "\n";
    }
}
