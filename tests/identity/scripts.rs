//! Scripts that are sent. Those that are loaded are never sent with EVAL: one plain server would remember the body
//! of an EVAL, and of a cluster only the node that ran it does.

/// Bodies for EVAL, each with one key and one argument or more.
pub const EVALS: &[&str] = &[
    "return KEYS[1]",
    "return {KEYS[1], ARGV[1], #ARGV, {1, {2, false}}, 3.7, true}",
    "return redis.call('SET', KEYS[1], ARGV[1])",
    "return redis.pcall('INCRBY', KEYS[1], ARGV[1])",
    "return redis.call('INCRBY', KEYS[1], ARGV[1])",
    "redis.call('RPUSH', KEYS[1], unpack(ARGV)) return redis.call('LRANGE', KEYS[1], 0, -1)",
    "return redis.call('EXISTS', KEYS[1]) == 1",
    "return redis.error_reply('MY error of a script')",
    "return {err = 'another error'}",
    "return redis.status_reply('FINE')",
    "return {}",
    "return nil",
    "redis.setresp(3) return redis.call('HGETALL', KEYS[1])['map']",
    "redis.setresp(3) return {double = 1.5}",
    "return redis.sha1hex(ARGV[1])",
    "return cjson.encode({ARGV[1]:len()})",
    "return tostring(redis.call('NOSUCHCOMMAND', KEYS[1]))",
    "this is no script",
    "return redis.call('GET')",
    "error('thrown')",
    "",
];

/// Bodies for SCRIPT LOAD, and what EVALSHA calls them.
pub const LOADED: &[(&str, &str)] = &[
    (
        "return redis.call('GET', KEYS[1])",
        "d3c21d0c2b9ca22f82737626a27bcaf5d288f99f",
    ),
    (
        "return {KEYS[1], ARGV[1] or false, #ARGV}",
        "61269903d1263748bd85cc852e9a81c28d1aea19",
    ),
];

/// Libraries for FUNCTION LOAD; the last ones are refused.
pub const LIBRARIES: &[&str] = &[
    "#!lua name=first\nredis.register_function('first_set', function(keys, args) \
     return redis.call('SET', keys[1], args[1]) end)",
    "#!lua name=second\nredis.register_function{function_name='second_get', \
     callback=function(keys, args) return redis.call('GET', keys[1]) end, flags={'no-writes'}}",
    "#!lua name=third\nnot lua",
    "#!cobol name=fourth\nSTOP RUN.",
    "no header",
];
