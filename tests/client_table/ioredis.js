// The scenario groups with ioredis: ioredis.js HOST PORT PROTOCOL PREFIX; what it prints says groups.js.
'use strict';
const assert = require('assert').strict;
const Redis = require('ioredis');
const { version } = require('ioredis/package.json');
const { host, port, protocol, P, T, soon, restart, collect, run } = require('./groups.js');

async function client(options = {}) {
  const c = new Redis({ host, port, protocol, lazyConnect: true, ...options });
  c.on('error', () => {});
  await c.connect();
  return c;
}

const groups = {
  async connect() {
    const c = await client({ connectionName: 'table', db: 0, keepAlive: 1000, enableReadyCheck: true });
    assert.equal(c.status, 'ready');
    assert.equal(await c.client('GETNAME'), 'table');
    assert.ok((await c.client('INFO')).includes(` resp=${protocol}`));
    assert.equal(await c.ping(), 'PONG');
    assert.equal(await c.echo('x'), 'x');
    await assert.rejects(c.call('NOSUCHCOMMAND', 'a'), /unknown command/);
    const url = new Redis(`redis://${host}:${port}/0`, { keyPrefix: `${P}:prefix:`, enableAutoPipelining: true, protocol });
    assert.deepEqual(await Promise.all([url.set('a', 1), url.set('b', 2), url.get('a'), url.get('b')]), ['OK', 'OK', '1', '2']);
    assert.equal(await c.get(`${P}:prefix:a`), '1');
    assert.equal(await url.quit(), 'OK');
    assert.equal(await c.quit(), 'OK');
  },
  async strings(c) {
    assert.equal(await c.set(`${P}:s`, 'v'), 'OK');
    assert.equal(await c.get(`${P}:s`), 'v');
    assert.equal(await c.get(`${P}:none`), null);
    assert.equal(await c.set(`${P}:s`, 'w', 'NX'), null);
    assert.equal(await c.setex(`${P}:s`, 100, 'w'), 'OK');
    assert.ok((await c.ttl(`${P}:s`)) > 0);
    assert.deepEqual(await c.getBuffer(`${P}:s`), Buffer.from('w'));
    const keys = Array.from({ length: 20 }, (_, i) => `${P}:m${i}`);
    assert.equal(await c.mset(...keys.flatMap((key, i) => [key, i])), 'OK');
    assert.deepEqual(await c.mget(...keys, `${P}:none`), [...keys.map((_, i) => String(i)), null]);
    assert.deepEqual(await Promise.all(keys.map((key) => c.incr(key))), keys.map((_, i) => i + 1));
    assert.equal(await c.del(...keys), 20);
    await assert.rejects(c.incr(`${P}:s`), /not an integer/);
  },
  async hashes(c) {
    const k = `${P}:h`;
    assert.equal(await c.hset(k, { a: '1', b: '2' }), 2);
    assert.deepEqual({ ...(await c.hgetall(k)) }, { a: '1', b: '2' });
    assert.deepEqual(await c.hmget(k, 'a', 'z'), ['1', null]);
    assert.equal(await c.hincrby(k, 'a', 4), 5);
    assert.equal(await c.hdel(k, 'b'), 1);
    assert.deepEqual((await c.hscan(k, 0)).flat(), ['0', 'a', '5']);
  },
  async lists(c) {
    const k = `${P}:l`;
    assert.equal(await c.rpush(k, 'b', 'c'), 2);
    assert.equal(await c.lpush(k, 'a'), 3);
    assert.deepEqual(await c.lrange(k, 0, -1), ['a', 'b', 'c']);
    assert.equal(await c.lpop(k), 'a');
    assert.deepEqual(await c.rpop(k, 2), ['c', 'b']);
    assert.equal(await c.lpop(k), null);
  },
  async sets(c) {
    assert.equal(await c.sadd(T + '1', 'a', 'b'), 2);
    assert.equal(await c.sadd(T + '2', 'b', 'c'), 2);
    assert.deepEqual([...(await c.sinter(T + '1', T + '2'))], ['b']);
    assert.deepEqual([...(await c.smembers(T + '1'))].sort(), ['a', 'b']);
    assert.deepEqual((await c.smismember(T + '1', 'a', 'z')).map(Number), [1, 0]);
  },
  async 'sorted-sets'(c) {
    const k = T + 'z';
    assert.equal(await c.zadd(k, 1, 'a', 2.5, 'b'), 2);
    assert.equal(Number(await c.zscore(k, 'b')), 2.5);
    assert.deepEqual((await c.zrange(k, 0, -1, 'WITHSCORES')).flat().map(String), ['a', '1', 'b', '2.5']);
    assert.equal(Number(await c.zincrby(k, 2, 'a')), 3);
    assert.deepEqual((await c.zpopmin(k)).flat().map(String), ['b', '2.5']);
    assert.equal(await c.zrank(k, 'a'), 0);
  },
  async streams(c) {
    const k = `${P}:x`;
    const id = await c.xadd(k, '*', 'f', '1');
    assert.deepEqual(await c.xrange(k, '-', '+'), [[id, ['f', '1']]]);
    assert.equal(await c.xgroup('CREATE', k, 'g', '0'), 'OK');
    const read = await c.xreadgroup('GROUP', 'g', 'me', 'COUNT', 10, 'STREAMS', k, '>');
    assert.ok(JSON.stringify(read).includes(id), JSON.stringify(read));
    assert.equal(await c.xack(k, 'g', id), 1);
  },
  async pipelines(c) {
    const keys = Array.from({ length: 200 }, (_, i) => `${P}:p${i}`);
    const pipeline = c.pipeline();
    keys.forEach((key, i) => pipeline.set(key, i));
    keys.forEach((key) => pipeline.get(key));
    assert.deepEqual(await pipeline.exec(), [...keys.map(() => [null, 'OK']), ...keys.map((_, i) => [null, String(i)])]);
    const mixed = await c.pipeline().set(`${P}:t`, 'text').incr(`${P}:t`).get(`${P}:t`).exec();
    assert.match(mixed[1][0].message, /not an integer/);
    assert.deepEqual(mixed[2], [null, 'text']);
  },
  async transactions(c) {
    assert.deepEqual(await c.multi().set(T + 't', '1').incr(T + 't').get(T + 't').exec(), [[null, 'OK'], [null, 2], [null, '2']]);
    const failed = await c.multi().set(T + 't', 'x').incr(T + 't').get(T + 't').exec();
    assert.match(failed[1][0].message, /not an integer/);
    assert.deepEqual(failed[2], [null, 'x']);
    await assert.rejects(c.multi().set(T + 't', 'y').call('INCR', T + 't', 'too', 'many').exec(), /EXECABORT/);
    assert.equal(await c.get(T + 't'), 'x');
    // Not in a pipeline: each one is answered.
    assert.equal(await c.multi({ pipeline: false }), 'OK');
    assert.equal(await c.set(T + 't', 'z'), 'QUEUED');
    assert.deepEqual(await c.exec(), [[null, 'OK']]);
    assert.equal(await c.multi({ pipeline: false }), 'OK');
    assert.equal(await c.set(T + 't', 'never'), 'QUEUED');
    assert.equal(await c.discard(), 'OK');
    assert.equal(await c.get(T + 't'), 'z');
  },
  async watch(c) {
    const k = T + 'w';
    const other = await client();
    await c.set(k, '1');
    const tries = [];
    for (let done = null; done === null; ) {
      await c.watch(k);
      tries.push(Number(await c.get(k)));
      if (tries.length === 1) await other.set(k, '10');
      done = await c.multi().set(k, tries.at(-1) + 1).exec();
    }
    assert.deepEqual(tries, [1, 10]);
    assert.equal(await c.get(k), '11');
    assert.equal(await c.unwatch(), 'OK');
    other.disconnect();
  },
  async scripts(c) {
    assert.deepEqual(await c.eval('return {KEYS[1], ARGV[1], 7}', 1, `${P}:e`, 'a'), [`${P}:e`, 'a', 7]);
    assert.equal(await c.eval('return ARGV[1]', 0, 'x'), 'x');
    c.defineCommand('twice', { numberOfKeys: 1, lua: `return redis.call('GET', KEYS[1]) * 2 -- ${P}` });
    await c.set(`${P}:e`, '21');
    assert.equal(await c.twice(`${P}:e`), 42);
    assert.equal(await c.twice(`${P}:e`), 42);
    const sha = await c.script('LOAD', `return ARGV[1] .. '${P}'`);
    assert.equal(await c.evalsha(sha, 1, `${P}:e`, 'b'), 'b' + P);
    assert.deepEqual((await c.script('EXISTS', sha, '0'.repeat(40))).map(Number), [1, 0]);
    await assert.rejects(c.evalsha('0'.repeat(40), 1, `${P}:e`), /NOSCRIPT/);
    // A pipeline asks SCRIPT EXISTS for its scripts first.
    assert.deepEqual(await c.pipeline().twice(`${P}:e`).get(`${P}:e`).exec(), [[null, 42], [null, '21']]);
  },
  async blocking(c) {
    const k = T + 'b';
    assert.equal(await c.blpop(k, 0.1), null);
    const other = await client();
    let [found] = await Promise.all([other.blpop(k, 0), soon(() => c.rpush(k, 'late'))]);
    assert.deepEqual(found, [k, 'late']);
    [found] = await Promise.all([other.brpop(`${P}:q1`, `${P}:q2`, 0), soon(() => c.rpush(`${P}:q2`, 'late'))]);
    assert.deepEqual(found, [`${P}:q2`, 'late']);
    await c.rpush(k, 'm');
    assert.equal(await c.blmove(k, T + 'b2', 'LEFT', 'RIGHT', 1), 'm');
    [found] = await Promise.all([
      other.xread('BLOCK', 0, 'STREAMS', T + 'bx', '$'),
      soon(() => c.xadd(T + 'bx', '*', 'f', 'late')),
    ]);
    assert.match(JSON.stringify(found), /late/);
    // Pipelined behind a command that blocks: it waits for its turn.
    const [popped, got] = await Promise.all([other.blpop(k, 0), other.get(k), soon(() => c.rpush(k, 'again'))]);
    assert.deepEqual([popped, got], [[k, 'again'], null]);
    other.disconnect();
  },
  async pubsub(c) {
    const subscriber = await client();
    const heard = [];
    subscriber.on('message', (channel, message) => heard.push([channel, message]));
    subscriber.on('pmessage', (pattern, channel, message) => heard.push([pattern, channel, message]));
    assert.equal(await subscriber.subscribe(`${P}:c1`, `${P}:c2`), 2);
    assert.equal(await subscriber.psubscribe(`${P}:*`), 3);
    assert.equal(await c.publish(`${P}:c1`, 'hello'), 2);
    await collect(heard, 2);
    assert.deepEqual(heard.sort(), [[`${P}:*`, `${P}:c1`, 'hello'], [`${P}:c1`, 'hello']].sort());
    assert.deepEqual((await c.pubsub('NUMSUB', `${P}:c1`)).map(String), [`${P}:c1`, '1']);
    assert.equal(await subscriber.unsubscribe(`${P}:c1`, `${P}:c2`), 1);
    assert.equal(await subscriber.punsubscribe(`${P}:*`), 0);
    assert.equal(await subscriber.get(`${P}:none`), null);
    subscriber.disconnect();
  },
  async scan(c) {
    const keys = Array.from({ length: 300 }, (_, i) => `${P}:scan:${i}`);
    await c.mset(...keys.flatMap((key) => [key, 1]));
    const found = new Set();
    for await (const batch of c.scanStream({ match: `${P}:scan:*`, count: 50 })) batch.forEach((key) => found.add(key));
    assert.deepEqual([...found].sort(), keys.sort());
  },
  async large(c) {
    const value = '0123456789abcdef'.repeat(1 << 20);
    assert.equal(await c.set(`${P}:large`, value), 'OK');
    assert.ok((await c.get(`${P}:large`)) === value);
    await c.del(`${P}:large`);
  },
  async reconnect() {
    const c = await client({ retryStrategy: () => 20, maxRetriesPerRequest: null });
    const subscriber = await client({ retryStrategy: () => 20, maxRetriesPerRequest: null });
    assert.equal(await c.set(`${P}:r`, '1'), 'OK');
    await restart();
    assert.equal(await c.set(`${P}:r`, '2'), 'OK');
    assert.equal(await subscriber.get(`${P}:r`), '2');
    c.disconnect();
    subscriber.disconnect();
  },
};

run(version, groups, () => client(), (c) => c.disconnect());
