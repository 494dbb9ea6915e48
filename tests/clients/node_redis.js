// node-redis against slotway: node_redis.js HOST PORT PROTOCOL. Prints what it checked; the first thing that is wrong ends
// it.
'use strict';
const assert = require('assert').strict;
const { createClient } = require('redis');
const { version } = require('redis/package.json');

const [host, port, protocol] = process.argv.slice(2);

async function main() {
  console.log(`node-redis ${version}, RESP${protocol}`);
  const client = createClient({
    name: 'node-redis-test',
    RESP: Number(protocol),
    socket: { host, port: Number(port), reconnectStrategy: false },
  });
  const trouble = [];
  client.on('error', (error) => trouble.push(error));
  await client.connect();
  assert.equal(await client.clientGetName(), 'node-redis-test');
  assert.equal((await client.clientInfo()).resp, Number(protocol));
  console.log('connect, name, protocol');

  assert.equal(await client.flushAll(), 'OK');
  assert.equal(await client.setEx('nr:s', 100, 'v'), 'OK');
  assert.equal(await client.get('nr:s'), 'v');
  assert.equal(await client.get('nr:nothing'), null);
  const keys = Array.from({ length: 100 }, (_, i) => `nr:k${i}`);
  assert.equal(await client.mSet(keys.map((key, i) => [key, String(i)])), 'OK');
  assert.deepEqual(await client.mGet(keys), keys.map((_, i) => String(i)));
  // Commands of one tick are one pipeline.
  assert.deepEqual(await Promise.all(keys.map((key) => client.incr(key))), keys.map((_, i) => i + 1));
  const pipeline = client.multi().set('nr:p', '1').get('nr:p');
  assert.deepEqual(await pipeline.execAsPipeline(), ['OK', '1']);
  console.log('strings, several slots, pipelines');

  await client.hSet('nr:h', { a: '1', b: '2' });
  assert.deepEqual({ ...(await client.hGetAll('nr:h')) }, { a: '1', b: '2' });
  await client.rPush('nr:l', ['a', 'b']);
  assert.deepEqual(await client.lRange('nr:l', 0, -1), ['a', 'b']);
  await client.sAdd('nr:set', ['a', 'b']);
  assert.deepEqual([...(await client.sMembers('nr:set'))].sort(), ['a', 'b']);
  await client.zAdd('nr:z', [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]);
  const scored = await client.zRangeWithScores('nr:z', 0, -1);
  assert.deepEqual(scored.map(({ value, score }) => [value, score]), [['a', 1], ['b', 2.5]]);
  const id = await client.xAdd('nr:x', '*', { f: 'v' });
  const entries = await client.xRange('nr:x', '-', '+');
  assert.deepEqual(entries.map((entry) => [entry.id, { ...entry.message }]), [[id, { f: 'v' }]]);
  const twice = await client.eval("return redis.call('GET', KEYS[1]) * 2", { keys: ['nr:k1'] });
  assert.equal(twice, 4);
  console.log('hash, list, set, sorted set, stream, script');

  const found = [];
  for await (const some of client.scanIterator({ MATCH: 'nr:k*', COUNT: 50 })) found.push(...some);
  assert.deepEqual(found.sort(), [...keys].sort());
  assert.ok((await client.dbSize()) >= keys.length);
  assert.match(await client.info(), /cluster_enabled:0/);
  assert.equal(await client.del(keys), keys.length);
  await assert.rejects(client.sInter(['a', 'b', 'c']), /CROSSSLOT/);
  assert.equal(await client.ping(), 'PONG');
  assert.deepEqual(trouble, []);
  await client.close();
  console.log('SCAN, DBSIZE, INFO, errors');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
