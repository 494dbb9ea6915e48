# The scenario groups with ruby-redis: redis_rb.rb HOST PORT PROTOCOL PREFIX. Prints `version …`, then `ok GROUP` or
# `fail GROUP: why` for each group; prints `restart` and waits for a line where the server shall be restarted.
require 'redis'
require 'timeout'

HOST, PORT, _protocol, P = ARGV
T = "{#{P}}".freeze # keys with it share a slot, keys without do not
$stdout.sync = true

def client(**options)
  Redis.new(host: HOST, port: PORT.to_i, timeout: 20, **options)
end

def equal(got, wanted)
  raise "got #{got.inspect}, wanted #{wanted.inspect} at #{caller(1, 1)}" unless got == wanted
end

def raises(part)
  got = yield
rescue Redis::BaseError => e
  raise "#{e.message} does not say #{part}" unless e.message.include?(part)
else
  raise "got #{got.inspect} instead of an error with #{part}"
end

def soon
  Thread.new do
    sleep 0.05
    yield client
  end
end

GROUPS = {
  'connect' => lambda { |r|
    named = client(id: 'table', reconnect_attempts: 3, tcp_keepalive: 10)
    equal(named.call('CLIENT', 'SETNAME', 'table'), 'OK')
    equal(named.call('CLIENT', 'GETNAME'), 'table')
    url = Redis.new(url: "redis://#{HOST}:#{PORT}/0")
    equal([url.ping, url.echo('x'), url.select(0)], %w[PONG x OK])
    equal(r.info['role'], 'master')
    raises('unknown command') { r.call('NOSUCHCOMMAND', 'a') }
  },
  'strings' => lambda { |r|
    equal([r.set("#{P}:s", 'v'), r.get("#{P}:s"), r.get("#{P}:none")], ['OK', 'v', nil])
    equal([r.set("#{P}:s", 'w', nx: true), r.setex("#{P}:s", 100, 'w')], [false, 'OK'])
    equal([r.incrby("#{P}:n", 5), r.decr("#{P}:n"), r.incrbyfloat("#{P}:f", 1.5)], [5, 4, 1.5])
    keys = (0...20).map { |i| "#{P}:m#{i}" }
    equal(r.mset(*keys.each_with_index.to_a.flatten), 'OK')
    equal(r.mget(*keys, "#{P}:none"), [*(0...20).map(&:to_s), nil])
    equal(r.mapped_mget(keys[0], keys[1]), { keys[0] => '0', keys[1] => '1' })
    equal([r.exists(*keys), r.del(*keys)], [20, 20])
    raises('not an integer') { r.incr("#{P}:s") }
  },
  'hashes' => lambda { |r|
    k = "#{P}:h"
    equal([r.hset(k, 'a', '1', 'b', '2'), r.hgetall(k)], [2, { 'a' => '1', 'b' => '2' }])
    equal([r.hmget(k, 'a', 'z'), r.hincrby(k, 'a', 4), r.hdel(k, 'b')], [['1', nil], 5, 1])
    equal(r.hscan_each(k).to_a, [%w[a 5]])
  },
  'lists' => lambda { |r|
    k = "#{P}:l"
    equal([r.rpush(k, %w[b c]), r.lpush(k, 'a'), r.lrange(k, 0, -1)], [2, 3, %w[a b c]])
    equal([r.lpop(k), r.rpop(k, 2), r.lpop(k)], ['a', %w[c b], nil])
  },
  'sets' => lambda { |r|
    equal([r.sadd(T + '1', %w[a b]), r.sadd(T + '2', %w[b c])], [2, 2])
    equal([r.sinter(T + '1', T + '2'), r.smembers(T + '1').sort, r.sismember(T + '1', 'z')], [['b'], %w[a b], false])
    equal(r.sscan_each(T + '1').to_a.sort, %w[a b])
  },
  'sorted-sets' => lambda { |r|
    k = T + 'z'
    equal([r.zadd(k, [[1, 'a'], [2.5, 'b']]), r.zscore(k, 'b'), r.zincrby(k, 2, 'a')], [2, 2.5, 3.0])
    equal([r.zrange(k, 0, -1, with_scores: true), r.zpopmin(k)], [[['b', 2.5], ['a', 3.0]], ['b', 2.5]])
  },
  'streams' => lambda { |r|
    k = "#{P}:x"
    id = r.xadd(k, { 'f' => '1' })
    equal([r.xlen(k), r.xrange(k)], [1, [[id, { 'f' => '1' }]]])
    equal(r.xgroup(:create, k, 'g', '0'), 'OK')
    equal([r.xreadgroup('g', 'me', k, '>'), r.xack(k, 'g', id)], [{ k => [[id, { 'f' => '1' }]] }, 1])
  },
  'pipelines' => lambda { |r|
    keys = (0...200).map { |i| "#{P}:p#{i}" }
    replies = r.pipelined do |p|
      keys.each_with_index { |key, i| p.set(key, i) }
      keys.each { |key| p.get(key) }
    end
    equal(replies, ['OK'] * 200 + (0...200).map(&:to_s))
  },
  'transactions' => lambda { |r|
    equal(r.multi { |t| t.set(T + 't', 1); t.incr(T + 't'); t.get(T + 't') }, ['OK', 2, '2'])
    raises('not an integer') { r.multi { |t| t.set(T + 't', 'x'); t.incr(T + 't') } }
    equal(r.get(T + 't'), 'x')
    raises('wrong number') { r.multi { |t| t.set(T + 't', 'y'); t.call('INCR', T + 't', 'too', 'many') } }
    equal(r.get(T + 't'), 'x')
  },
  'watch' => lambda { |r|
    k = T + 'w'
    r.set(k, 1)
    tries = []
    loop do
      done = r.watch(k) do
        tries << r.get(k).to_i
        client.set(k, 10) if tries.size == 1
        r.multi { |t| t.set(k, tries.last + 1) }
      end
      break if done
    end
    equal([tries, r.get(k)], [[1, 10], '11'])
    equal([r.watch(k), r.unwatch], %w[OK OK])
  },
  'scripts' => lambda { |r|
    equal(r.eval('return {KEYS[1], ARGV[1], 7}', ["#{P}:e"], ['a']), ["#{P}:e", 'a', 7])
    equal(r.eval('return ARGV[1]', [], ['x']), 'x')
    sha = r.script(:load, "return ARGV[1] .. '#{P}'")
    equal([r.script(:exists, sha), r.evalsha(sha, ["#{P}:e"], ['b'])], [true, "b#{P}"])
    raises('NOSCRIPT') { r.evalsha('0' * 40, ["#{P}:e"]) }
  },
  'blocking' => lambda { |r|
    k = T + 'b'
    equal(r.blpop(k, timeout: 1), nil)
    pusher = soon { |c| c.rpush(k, 'late') }
    equal(r.blpop(k, timeout: 0), [k, 'late'])
    pusher.join
    pusher = soon { |c| c.rpush("#{P}:q2", 'late') }
    equal(r.brpop("#{P}:q1", "#{P}:q2", timeout: 0), ["#{P}:q2", 'late'])
    pusher.join
    r.rpush(k, 'm')
    equal(r.brpoplpush(k, T + 'b2', timeout: 1), 'm')
  },
  'pubsub' => lambda { |r|
    heard = []
    r.subscribe("#{P}:c1", "#{P}:c2") do |on|
      on.subscribe { |_, n| equal(client.publish("#{P}:c1", 'hello'), 1) if n == 2 }
      on.message do |channel, message|
        heard << [channel, message]
        r.unsubscribe
      end
    end
    equal(heard, [["#{P}:c1", 'hello']])
    r.psubscribe("#{P}:*") do |on|
      on.psubscribe { client.publish("#{P}:c1", 'again') }
      on.pmessage do |pattern, channel, message|
        heard << [pattern, channel, message]
        r.punsubscribe
      end
    end
    equal([heard.last, r.get("#{P}:none")], [["#{P}:*", "#{P}:c1", 'again'], nil])
  },
  'scan' => lambda { |r|
    keys = (0...300).map { |i| "#{P}:scan:#{i}" }
    r.mset(*keys.flat_map { |key| [key, 1] })
    equal(r.scan_each(match: "#{P}:scan:*", count: 50).to_a.uniq.sort, keys.sort)
  },
  'large' => lambda { |r|
    value = '0123456789abcdef' * (1 << 20)
    equal(r.set("#{P}:large", value), 'OK')
    raise 'another value' unless r.get("#{P}:large") == value

    r.del("#{P}:large")
  },
  'reconnect' => lambda { |_|
    r = client(reconnect_attempts: 500, reconnect_delay: 0.02, reconnect_delay_max: 0.02)
    equal(r.set("#{P}:r", 1), 'OK')
    puts 'restart'
    $stdin.gets
    equal([r.set("#{P}:r", 2), r.get("#{P}:r")], %w[OK 2])
  }
}.freeze

puts "version #{Redis::VERSION}"
GROUPS.each do |name, group|
  Timeout.timeout(30) { group.call(client) }
  puts "ok #{name}"
rescue StandardError => e
  puts "fail #{name}: #{e.class} #{e.message} #{e.backtrace.first}".gsub(/\s+/, ' ')[0, 600]
end
