// The scenario groups with valkey-glide in standalone mode: valkey_glide.js HOST PORT PROTOCOL PREFIX; what it prints
// says groups.js.
'use strict';
const assert = require('assert').strict;
const fs = require('fs');
const path = require('path');
const glide = require('@valkey/valkey-glide');
const { version } = JSON.parse(fs.readFileSync(path.join(path.dirname(require.resolve('@valkey/valkey-glide')), '..', 'package.json')));
const { host, port, protocol, P, T, soon, restart, collect, run } = require('./groups.js');

glide.Logger.init('off');
const { GlideClient, Batch, Script, ProtocolVersion } = glide;

function client(options = {}) {
  return GlideClient.createClient({
    addresses: [{ host, port }],
    protocol: protocol === 3 ? ProtocolVersion.RESP3 : ProtocolVersion.RESP2,
    requestTimeout: 10000,
    ...options,
  });
}

const groups = {
  async connect() {
    const c = await client({ clientName: 'table', databaseId: 0 });
    assert.equal(await c.clientGetName(), 'table');
    assert.equal(await c.ping(), 'PONG');
    assert.equal(await c.echo('x'), 'x');
    assert.equal(await c.select(0), 'OK');
    assert.ok((await c.clientId()) > 0);
    assert.match(String(await c.info()), /role:master/);
    await assert.rejects(c.customCommand(['NOSUCHCOMMAND', 'a']), /unknown command/i);
    c.close();
  },
  async strings(c) {
    assert.equal(await c.set(`${P}:s`, 'v'), 'OK');
    assert.equal(await c.get(`${P}:s`), 'v');
    assert.equal(await c.get(`${P}:none`), null);
    assert.equal(await c.set(`${P}:s`, 'w', { conditionalSet: 'onlyIfDoesNotExist' }), null);
    assert.equal(await c.incrBy(`${P}:n`, 5), 5);
    assert.equal(await c.expire(`${P}:s`, 100), true);
    const keys = Array.from({ length: 20 }, (_, i) => `${P}:m${i}`);
    assert.equal(await c.mset(Object.fromEntries(keys.map((key, i) => [key, String(i)]))), 'OK');
    assert.deepEqual(await c.mget([...keys, `${P}:none`]), [...keys.map((_, i) => String(i)), null]);
    assert.equal(await c.exists(keys), 20);
    assert.equal(await c.del(keys), 20);
    await assert.rejects(c.incr(`${P}:s`), /not an integer/);
  },
  async hashes(c) {
    const k = `${P}:h`;
    assert.equal(await c.hset(k, { a: '1', b: '2' }), 2);
    assert.deepEqual((await c.hgetall(k)).map(({ field, value }) => [field, value]).sort(), [['a', '1'], ['b', '2']]);
    assert.deepEqual(await c.hmget(k, ['a', 'z']), ['1', null]);
    assert.equal(await c.hincrBy(k, 'a', 4), 5);
    assert.equal(await c.hdel(k, ['b']), 1);
    assert.deepEqual((await c.hscan(k, '0'))[1], ['a', '5']);
  },
  async lists(c) {
    const k = `${P}:l`;
    assert.equal(await c.rpush(k, ['b', 'c']), 2);
    assert.equal(await c.lpush(k, ['a']), 3);
    assert.deepEqual(await c.lrange(k, 0, -1), ['a', 'b', 'c']);
    assert.equal(await c.lpop(k), 'a');
    assert.deepEqual(await c.rpopCount(k, 2), ['c', 'b']);
    assert.equal(await c.lpop(k), null);
  },
  async sets(c) {
    assert.equal(await c.sadd(T + '1', ['a', 'b']), 2);
    assert.equal(await c.sadd(T + '2', ['b', 'c']), 2);
    assert.deepEqual([...(await c.sinter([T + '1', T + '2']))], ['b']);
    assert.deepEqual([...(await c.smembers(T + '1'))].sort(), ['a', 'b']);
    assert.deepEqual(await c.smismember(T + '1', ['a', 'z']), [true, false]);
  },
  async 'sorted-sets'(c) {
    const k = T + 'z';
    assert.equal(await c.zadd(k, { a: 1, b: 2.5 }), 2);
    assert.equal(await c.zscore(k, 'b'), 2.5);
    const found = await c.zrangeWithScores(k, { start: 0, end: -1 });
    assert.deepEqual(found.map(({ element, score }) => [element, score]), [['a', 1], ['b', 2.5]]);
    assert.equal(await c.zincrby(k, 2, 'a'), 3);
    assert.equal(await c.zrank(k, 'a'), 1);
  },
  async streams(c) {
    const k = `${P}:x`;
    const id = await c.xadd(k, [['f', '1']]);
    assert.equal(await c.xlen(k), 1);
    assert.ok(JSON.stringify(await c.xrange(k, { value: '-' }, { value: '+' })).includes(id));
    assert.equal(await c.xgroupCreate(k, 'g', '0'), 'OK');
    assert.ok(JSON.stringify(await c.xreadgroup('g', 'me', { [k]: '>' })).includes(id));
    assert.equal(await c.xack(k, 'g', [id]), 1);
  },
  async pipelines(c) {
    const keys = Array.from({ length: 200 }, (_, i) => `${P}:p${i}`);
    const batch = new Batch(false);
    keys.forEach((key, i) => batch.set(key, String(i)));
    keys.forEach((key) => batch.get(key));
    assert.deepEqual(await c.exec(batch, true), [...keys.map(() => 'OK'), ...keys.map((_, i) => String(i))]);
    const mixed = await c.exec(new Batch(false).set(`${P}:t`, 'text').incr(`${P}:t`).get(`${P}:t`), false);
    assert.match(mixed[1].message, /not an integer/);
    assert.equal(mixed[2], 'text');
  },
  async transactions(c) {
    assert.deepEqual(await c.exec(new Batch(true).set(T + 't', '1').incr(T + 't').get(T + 't'), true), ['OK', 2, '2']);
    const failed = await c.exec(new Batch(true).set(T + 't', 'x').incr(T + 't').get(T + 't'), false);
    assert.match(failed[1].message, /not an integer/);
    assert.equal(failed[2], 'x');
    const bad = new Batch(true).set(T + 't', 'y').customCommand(['INCR', T + 't', 'too', 'many']);
    await assert.rejects(c.exec(bad, true), /wrong number|EXECABORT|discarded/i);
    assert.equal(await c.get(T + 't'), 'x');
  },
  async watch(c) {
    const k = T + 'w';
    const other = await client();
    await c.set(k, '1');
    const tries = [];
    for (let done = null; done === null; ) {
      assert.equal(await c.watch([k]), 'OK');
      tries.push(Number(await c.get(k)));
      if (tries.length === 1) await other.set(k, '10');
      done = await c.exec(new Batch(true).set(k, String(tries.at(-1) + 1)), true);
    }
    assert.deepEqual(tries, [1, 10]);
    assert.equal(await c.get(k), '11');
    assert.equal(await c.unwatch(), 'OK');
    other.close();
  },
  async scripts(c) {
    const script = new Script(`return {KEYS[1], ARGV[1], '${P}'}`);
    assert.deepEqual(await c.invokeScript(script, { keys: [`${P}:e`], args: ['a'] }), [`${P}:e`, 'a', P]);
    assert.deepEqual(await c.invokeScript(script, { keys: [`${P}:e`], args: ['b'] }), [`${P}:e`, 'b', P]);
    assert.deepEqual(await c.scriptExists([script.getHash(), '0'.repeat(40)]), [true, false]);
    const keyless = new Script(`return ARGV[1] .. '${P}'`);
    assert.equal(await c.invokeScript(keyless, { args: ['x'] }), 'x' + P);
    assert.equal(await c.customCommand(['EVAL', 'return 1', '0']), 1);
  },
  async blocking(c) {
    const k = T + 'b';
    assert.equal(await c.blpop([k], 0.1), null);
    const other = await client();
    let [found] = await Promise.all([other.blpop([k], 0), soon(() => c.rpush(k, ['late']))]);
    assert.deepEqual(found, [k, 'late']);
    [found] = await Promise.all([other.brpop([`${P}:q1`, `${P}:q2`], 0), soon(() => c.rpush(`${P}:q2`, ['late']))]);
    assert.deepEqual(found, [`${P}:q2`, 'late']);
    await c.rpush(k, ['m']);
    assert.equal(await c.blmove(k, T + 'b2', 'left', 'right', 1), 'm');
    other.close();
  },
  async pubsub(c) {
    const { PubSubChannelModes } = glide.GlideClientConfiguration;
    const heard = [];
    const subscriber = await client({
      pubsubSubscriptions: {
        channelsAndPatterns: {
          [PubSubChannelModes.Exact]: new Set([`${P}:c1`]),
          [PubSubChannelModes.Pattern]: new Set([`${P}:*`]),
        },
        callback: (message) => heard.push([message.channel, message.message, message.pattern ?? null]),
      },
    });
    for (let tries = 0; (await c.publish('hello', `${P}:c1`)) !== 2 && tries < 200; tries++) {
      heard.length = 0;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await collect(heard, 2);
    assert.deepEqual(heard.slice(-2).map(String).sort(), [`${P}:c1,hello,`, `${P}:c1,hello,${P}:*`].sort());
    subscriber.close();
  },
  async scan(c) {
    const keys = Array.from({ length: 300 }, (_, i) => `${P}:scan:${i}`);
    await c.mset(Object.fromEntries(keys.map((key) => [key, '1'])));
    const found = new Set();
    let cursor = '0';
    do {
      const [next, batch] = await c.scan(cursor, { match: `${P}:scan:*`, count: 50 });
      batch.forEach((key) => found.add(key));
      cursor = next;
    } while (cursor !== '0');
    assert.deepEqual([...found].sort(), keys.sort());
  },
  async large(c) {
    const value = '0123456789abcdef'.repeat(1 << 20);
    assert.equal(await c.set(`${P}:large`, value), 'OK');
    assert.ok((await c.get(`${P}:large`)) === value);
    await c.del([`${P}:large`]);
  },
  async reconnect() {
    const c = await client({ connectionBackoff: { numberOfRetries: 500, factor: 20, exponentBase: 1 } });
    assert.equal(await c.set(`${P}:r`, '1'), 'OK');
    await restart();
    // It reconnects by itself; what was under way may fail.
    for (let tries = 0; ; tries++) {
      try {
        assert.equal(await c.set(`${P}:r`, '2'), 'OK');
        break;
      } catch (error) {
        if (tries === 500) throw error;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
    assert.equal(await c.get(`${P}:r`), '2');
    c.close();
  },
};

// It subscribes in RESP3 only.
if (protocol === 2) delete groups.pubsub;

run(version, groups, () => client(), (c) => c.close());
