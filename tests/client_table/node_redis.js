// The scenario groups with node-redis: node_redis.js HOST PORT PROTOCOL PREFIX; what it prints says groups.js.
'use strict';
const assert = require('assert').strict;
const { createClient, WatchError, defineScript } = require('redis');
const { version } = require('redis/package.json');
const { host, port, protocol, P, T, soon, restart, collect, run } = require('./groups.js');

async function client(options = {}) {
  const c = createClient({ socket: { host, port, connectTimeout: 5000 }, RESP: protocol, ...options });
  c.on('error', () => {});
  return c.connect();
}

const flat = (value) => (Array.isArray(value) ? value.map(flat) : value && typeof value === 'object' ? { ...value } : value);

const groups = {
  async connect() {
    const c = await client({ name: 'table', database: 0, pingInterval: 1000 });
    assert.equal(await c.clientGetName(), 'table');
    assert.equal(await c.ping(), 'PONG');
    assert.equal(await c.echo('x'), 'x');
    assert.match(await c.info(), /role:master/);
    await assert.rejects(c.sendCommand(['NOSUCHCOMMAND', 'a']), /unknown command/);
    const url = createClient({ url: `redis://${host}:${port}/0`, RESP: protocol });
    await url.connect();
    assert.equal(await url.ping(), 'PONG');
    await url.close();
    await c.close();
  },
  async strings(c) {
    assert.equal(await c.set(`${P}:s`, 'v'), 'OK');
    assert.equal(await c.get(`${P}:s`), 'v');
    assert.equal(await c.get(`${P}:none`), null);
    assert.equal(await c.sendCommand(['SET', `${P}:s`, 'w', 'NX']), null);
    assert.equal(await c.setEx(`${P}:s`, 100, 'w'), 'OK');
    assert.ok((await c.ttl(`${P}:s`)) > 0);
    assert.equal(await c.incrBy(`${P}:n`, 5), 5);
    const keys = Array.from({ length: 20 }, (_, i) => `${P}:m${i}`);
    assert.equal(await c.mSet(keys.map((key, i) => [key, String(i)])), 'OK');
    assert.deepEqual(await c.mGet([...keys, `${P}:none`]), [...keys.map((_, i) => String(i)), null]);
    assert.equal(await c.exists(keys), 20);
    assert.equal(await c.del(keys), 20);
    await assert.rejects(c.incr(`${P}:s`), /not an integer/);
  },
  async hashes(c) {
    const k = `${P}:h`;
    assert.equal(await c.hSet(k, { a: '1', b: '2' }), 2);
    assert.deepEqual({ ...(await c.hGetAll(k)) }, { a: '1', b: '2' });
    assert.deepEqual(await c.hmGet(k, ['a', 'z']), ['1', null]);
    assert.equal(await c.hIncrBy(k, 'a', 4), 5);
    assert.equal(await c.hDel(k, 'b'), 1);
    assert.deepEqual(await c.hKeys(k), ['a']);
  },
  async lists(c) {
    const k = `${P}:l`;
    assert.equal(await c.rPush(k, ['b', 'c']), 2);
    assert.equal(await c.lPush(k, 'a'), 3);
    assert.deepEqual(await c.lRange(k, 0, -1), ['a', 'b', 'c']);
    assert.equal(await c.lPop(k), 'a');
    assert.deepEqual(await c.rPopCount(k, 2), ['c', 'b']);
    assert.equal(await c.lPop(k), null);
  },
  async sets(c) {
    assert.equal(await c.sAdd(T + '1', ['a', 'b']), 2);
    assert.equal(await c.sAdd(T + '2', ['b', 'c']), 2);
    assert.deepEqual([...(await c.sInter([T + '1', T + '2']))], ['b']);
    assert.deepEqual([...(await c.sMembers(T + '1'))].sort(), ['a', 'b']);
    assert.equal(await c.sIsMember(T + '1', 'a'), 1);
  },
  async 'sorted-sets'(c) {
    const k = T + 'z';
    assert.equal(await c.zAdd(k, [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]), 2);
    assert.equal(await c.zScore(k, 'b'), 2.5);
    assert.deepEqual((await c.zRangeWithScores(k, 0, -1)).map(flat), [{ value: 'a', score: 1 }, { value: 'b', score: 2.5 }]);
    assert.equal(await c.zIncrBy(k, 2, 'a'), 3);
    assert.deepEqual({ ...(await c.zPopMin(k)) }, { value: 'b', score: 2.5 });
  },
  async streams(c) {
    const k = `${P}:x`;
    const id = await c.xAdd(k, '*', { f: '1' });
    assert.equal(await c.xLen(k), 1);
    assert.equal((await c.xRange(k, '-', '+'))[0].id, id);
    assert.equal(await c.xGroupCreate(k, 'g', '0'), 'OK');
    const read = await c.xReadGroup('g', 'me', { key: k, id: '>' });
    assert.ok(JSON.stringify(read).includes(id), JSON.stringify(read));
    assert.equal(await c.xAck(k, 'g', id), 1);
  },
  async pipelines(c) {
    const keys = Array.from({ length: 200 }, (_, i) => `${P}:p${i}`);
    const replies = await Promise.all([...keys.map((key, i) => c.set(key, String(i))), ...keys.map((key) => c.get(key))]);
    assert.deepEqual(replies, [...keys.map(() => 'OK'), ...keys.map((_, i) => String(i))]);
    assert.deepEqual(await c.multi().set(`${P}:p`, 'v').get(`${P}:p`).get(`${P}:p0`).execAsPipeline(), ['OK', 'v', '0']);
  },
  async transactions(c) {
    assert.deepEqual(await c.multi().set(T + 't', '1').incr(T + 't').get(T + 't').exec(), ['OK', 2, '2']);
    assert.deepEqual(await c.multi().hSet(T + 'th', 'a', '1').expire(T + 'th', 100).exec(), [1, 1]);
    const failed = await c.multi().set(T + 't', 'x').incr(T + 't').get(T + 't').exec().catch((error) => error.replies);
    assert.equal(failed[2], 'x');
    assert.match(failed[1].message, /not an integer/);
    await assert.rejects(c.multi().set(T + 't', 'y').addCommand(['INCR', T + 't', 'too', 'many']).exec(), /wrong number|EXECABORT/);
    assert.equal(await c.get(T + 't'), 'x');
  },
  async watch(c) {
    const k = T + 'w';
    const other = await client();
    await c.set(k, '1');
    const tries = [];
    for (;;) {
      await c.watch(k);
      tries.push(Number(await c.get(k)));
      if (tries.length === 1) await other.set(k, '10');
      try {
        await c.multi().set(k, String(tries.at(-1) + 1)).exec();
        break;
      } catch (error) {
        assert.ok(error instanceof WatchError, String(error));
      }
    }
    assert.deepEqual(tries, [1, 10]);
    assert.equal(await c.get(k), '11');
    assert.equal(await c.unwatch(), 'OK');
    await other.close();
  },
  async scripts(c) {
    assert.deepEqual(await c.eval('return {KEYS[1], ARGV[1], 7}', { keys: [`${P}:e`], arguments: ['a'] }), [`${P}:e`, 'a', 7]);
    assert.equal(await c.eval('return ARGV[1]', { arguments: ['x'] }), 'x');
    const sha = await c.scriptLoad(`return ARGV[1] .. '${P}'`);
    assert.equal(await c.evalSha(sha, { keys: [`${P}:e`], arguments: ['b'] }), 'b' + P);
    assert.deepEqual((await c.scriptExists([sha, '0'.repeat(40)])).map(Number), [1, 0]);
    await assert.rejects(c.evalSha('0'.repeat(40), { keys: [`${P}:e`] }), /NOSCRIPT/);
    const own = await client({
      scripts: {
        twice: defineScript({
          SCRIPT: `return tonumber(redis.call('GET', KEYS[1])) * 2 -- ${P}${protocol}`,
          NUMBER_OF_KEYS: 1,
          parseCommand: (parser, key) => parser.pushKey(key),
          transformReply: (reply) => reply,
        }),
      },
    });
    await own.set(`${P}:e`, '21');
    assert.equal(await own.twice(`${P}:e`), 42);
    await own.close();
  },
  async blocking(c) {
    const k = T + 'b';
    assert.equal(await c.blPop(k, 0.1), null);
    const other = await client();
    let [found] = await Promise.all([other.blPop(k, 0), soon(() => c.rPush(k, 'late'))]);
    assert.deepEqual({ ...found }, { key: k, element: 'late' });
    [found] = await Promise.all([other.brPop([`${P}:q1`, `${P}:q2`], 0), soon(() => c.rPush(`${P}:q2`, 'late'))]);
    assert.deepEqual({ ...found }, { key: `${P}:q2`, element: 'late' });
    await c.rPush(k, 'm');
    assert.equal(await c.blMove(k, T + 'b2', 'LEFT', 'RIGHT', 1), 'm');
    const [, , id] = [0, 0, await c.xAdd(T + 'bx', '*', { f: '1' })];
    const [read] = await Promise.all([
      other.xRead({ key: T + 'bx', id }, { BLOCK: 0 }),
      soon(() => c.xAdd(T + 'bx', '*', { f: 'late' })),
    ]);
    assert.match(JSON.stringify(read), /late/);
    await other.close();
  },
  async pubsub(c) {
    const subscriber = await client();
    const heard = [];
    await subscriber.subscribe(`${P}:c1`, (message, channel) => heard.push([channel, message]));
    await subscriber.pSubscribe(`${P}:*`, (message, channel) => heard.push([`p${channel}`, message]));
    assert.equal(await c.publish(`${P}:c1`, 'hello'), 2);
    await collect(heard, 2);
    assert.deepEqual(heard.sort(), [[`${P}:c1`, 'hello'], [`p${P}:c1`, 'hello']].sort());
    await subscriber.unsubscribe();
    await subscriber.pUnsubscribe();
    assert.equal(await c.publish(`${P}:c1`, 'nobody'), 0);
    // In RESP2 it gives what comes now as bytes.
    assert.equal(String(await subscriber.set(`${P}:after`, '1')), 'OK');
    await subscriber.close();
  },
  async scan(c) {
    const keys = Array.from({ length: 300 }, (_, i) => `${P}:scan:${i}`);
    await Promise.all(keys.map((key) => c.set(key, '1')));
    const found = new Set();
    for await (const batch of c.scanIterator({ MATCH: `${P}:scan:*`, COUNT: 50 })) [].concat(batch).forEach((key) => found.add(key));
    assert.deepEqual([...found].sort(), keys.sort());
  },
  async large(c) {
    const value = '0123456789abcdef'.repeat(1 << 20);
    assert.equal(await c.set(`${P}:large`, value), 'OK');
    assert.ok((await c.get(`${P}:large`)) === value);
    await c.del(`${P}:large`);
  },
  async reconnect(c) {
    assert.equal(await c.set(`${P}:r`, '1'), 'OK');
    await restart();
    // It queues while it reconnects by itself; what was under way may fail.
    for (let tries = 0; ; tries++) {
      try {
        assert.equal(await c.set(`${P}:r`, '2'), 'OK');
        break;
      } catch (error) {
        if (tries === 50) throw error;
      }
    }
    assert.equal(await c.get(`${P}:r`), '2');
  },
};

run(version, groups, () => client(), (c) => c.destroy());
