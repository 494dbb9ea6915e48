// ioredis against slotway: ioredis.js HOST PORT PROTOCOL. Prints what it checked; the first thing that is wrong ends it.
'use strict';
const assert = require('assert').strict;
const Redis = require('ioredis');
const { version } = require('ioredis/package.json');

const [host, port, protocol] = process.argv.slice(2);

async function scan(redis, match) {
  const found = [];
  for await (const keys of redis.scanStream({ match, count: 50 })) found.push(...keys);
  return found.sort();
}

async function main() {
  console.log(`ioredis ${version}, RESP${protocol}`);
  const options = { host, port, protocol: Number(protocol), connectionName: 'ioredis-test', retryStrategy: () => null };
  const redis = new Redis(options);
  const trouble = [];
  redis.on('error', (error) => trouble.push(error));
  await new Promise((resolve, reject) => {
    redis.once('ready', resolve);
    redis.once('end', () => reject(trouble[0] || new Error('it ended before it was ready')));
  });
  assert.equal(await redis.client('GETNAME'), 'ioredis-test');
  const info = await redis.client('INFO');
  assert.match(info, /lib-name=ioredis/);
  assert.ok(info.includes(` resp=${protocol} `), info);
  console.log('connect with its ready check, name, lib-name, protocol');

  assert.equal(await redis.flushall(), 'OK');
  assert.equal(await redis.setex('io:s', 100, 'v'), 'OK');
  assert.equal(await redis.get('io:s'), 'v');
  assert.equal(await redis.get('io:nothing'), null);
  const keys = Array.from({ length: 100 }, (_, i) => `io:k${i}`);
  assert.equal(await redis.mset(...keys.flatMap((key, i) => [key, i])), 'OK');
  assert.deepEqual(await redis.mget(keys), keys.map((_, i) => String(i)));
  const replies = await redis.pipeline(keys.map((key) => ['get', key])).exec();
  assert.deepEqual(replies, keys.map((_, i) => [null, String(i)]));
  const together = await Promise.all(keys.map((key) => redis.incr(key)));
  assert.deepEqual(together, keys.map((_, i) => i + 1));
  console.log('strings, several slots, pipelines');

  await redis.hset('io:h', { a: '1', b: '2' });
  assert.deepEqual({ ...(await redis.hgetall('io:h')) }, { a: '1', b: '2' });
  await redis.rpush('io:l', 'a', 'b');
  assert.deepEqual(await redis.lrange('io:l', 0, -1), ['a', 'b']);
  await redis.sadd('io:set', 'a', 'b');
  assert.deepEqual([...(await redis.smembers('io:set'))].sort(), ['a', 'b']);
  await redis.zadd('io:z', 1, 'a', 2.5, 'b');
  assert.deepEqual((await redis.zrange('io:z', 0, -1, 'WITHSCORES')).flat().map(String), ['a', '1', 'b', '2.5']);
  const id = await redis.xadd('io:x', '*', 'f', 'v');
  assert.deepEqual(await redis.xrange('io:x', '-', '+'), [[id, ['f', 'v']]]);
  redis.defineCommand('twice', { numberOfKeys: 1, lua: "return redis.call('GET', KEYS[1]) * 2" });
  assert.equal(await redis.twice('io:k1'), 4);
  console.log('hash, list, set, sorted set, stream, script');

  assert.deepEqual(await scan(redis, 'io:k*'), [...keys].sort());
  assert.ok((await redis.dbsize()) >= keys.length);
  assert.equal(await redis.del(keys), keys.length);
  assert.deepEqual(await redis.multi().set('{io}a', 1).incr('{io}a').del('{io}a').exec(), [[null, 'OK'], [null, 2], [null, 1]]);
  await assert.rejects(redis.multi().set('a', 1).set('b', 1).exec(), /EXECABORT|CROSSSLOT/);
  await assert.rejects(redis.sinter('a', 'b', 'c'), /CROSSSLOT/);
  assert.equal(await redis.ping(), 'PONG');
  assert.deepEqual(trouble, []);
  assert.equal(await redis.quit(), 'OK');
  console.log('SCAN, DBSIZE, errors, QUIT');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
