//! The requests: sessions of one client each, a request a line.

/// What one client says, line by line.
pub(crate) struct Session {
    pub(crate) name: &'static str,
    /// The kind of server that it is for; empty: both.
    server: &'static str,
    text: &'static str,
}

impl Session {
    pub(crate) fn is_for(&self, kind: &str) -> bool {
        self.server.is_empty() || self.server == kind
    }

    /// The requests; everything after `CLIENT REPLY OFF` and the like has no reply and is not listed here.
    pub(crate) fn lines(&self) -> Vec<&'static str> {
        let lines = self.text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).collect()
    }
}

/// Whether a request has no reply. (Such sessions have one reply per line that is not marked.)
pub(crate) fn is_silent(line: &str) -> bool {
    line.starts_with('~')
}

/// The arguments of a line: `""` is the empty one, `\n` and `\r` are line ends.
pub(crate) fn args(line: &str) -> Vec<Vec<u8>> {
    let line = line.trim_start_matches('~');
    let words = line.split(' ').map(|word| match word {
        "\"\"" => String::new(),
        word => word
            .replace("\\n", "\n")
            .replace("\\r", "\r")
            .replace("\\_", " "),
    });
    words.map(String::into_bytes).collect()
}

const fn both(name: &'static str, text: &'static str) -> Session {
    let server = "";
    Session { name, server, text }
}

const fn only(server: &'static str, name: &'static str, text: &'static str) -> Session {
    Session { name, server, text }
}

pub(crate) const SESSIONS: &[Session] = &[
    both(
        "hello",
        "
        HELLO
        HELLO 2
        HELLO 1
        HELLO 4
        HELLO abc
        HELLO 03
        HELLO -1
        HELLO 99999999999999999999999
        HELLO 3 FOO
        HELLO 3 f\\r\\noo
        HELLO 3 AUTH
        HELLO 3 AUTH default
        HELLO 3 SETNAME
        HELLO 3 AUTH other any
        HELLO 3 SETNAME a\\_b
        HELLO 3 SETNAME a\\nb
        CLIENT GETNAME
        GET nokey
        HELLO 2 AUTH default anything SETNAME bob
        CLIENT GETNAME
        HELLO 3 SETNAME eve
        CLIENT GETNAME
        GET nokey
        HELLO
        HELLO 1
        GET nokey
        HELLO 2 SETNAME \"\"
        CLIENT GETNAME
        GET nokey
    ",
    ),
    both(
        "switching",
        "
        DEL h
        HSET h a 1
        HELLO 3
        HGETALL h
        GET nokey
        HELLO 2
        HGETALL h
        GET nokey
        HELLO 3
        HGETALL h
        CLIENT GETNAME
        MGET nokey other third
        HELLO 2
        MGET nokey other third
        PING
        HELLO 3
        PING
        CONFIG GET maxmemory-policy
        HELLO 2
        CONFIG GET maxmemory-policy
        RESET
        HELLO 3
        HGETALL h
        RESET
        HGETALL h
        DEL h
    ",
    ),
    both(
        "auth",
        "
        AUTH
        AUTH x
        AUTH \"\"
        AUTH default
        AUTH default x
        AUTH other x
        AUTH a b c
        ACL WHOAMI
        ACL WHOAMI x
        HELLO 3
        ACL WHOAMI
    ",
    ),
    both(
        "select",
        "
        SELECT
        SELECT 0
        SELECT 1
        SELECT -1
        SELECT 16
        SELECT 00
        SELECT abc
        SELECT \"\"
        SELECT 0 0
        SELECT 2147483648
        SELECT 99999999999999999999
    ",
    ),
    both(
        "ping, echo, time, role",
        "
        PING
        PING a
        PING \"\"
        PING a b
        ECHO
        ECHO a
        ECHO \"\"
        ECHO a b
        TIME
        TIME x
        ROLE
        ROLE x
        HELLO 3
        PING
        PING a
        ECHO a
        TIME
        ROLE
        RESET
        RESET x
        LOLWUT x y
        ASKING
        READONLY
        READWRITE
        READONLY x
        QUIT x
    ",
    ),
    both(
        "quit",
        "
        PING
        QUIT
        PING
    ",
    ),
    // Redis 7.0 forgets to clear it.
    only(
        "valkey",
        "reset: no-evict",
        "
        CLIENT NO-EVICT on
        RESET
        CLIENT INFO
    ",
    ),
    both(
        "lolwut",
        "
        LOLWUT
        LOLWUT x y
        LOLWUT 1 2 3 4 5
        LOLWUT VERSION
        LOLWUT VERSION x
        LOLWUT VERSION 1
        LOLWUT VERSION 4
    ",
    ),
    both(
        "reset",
        "
        CLIENT SETNAME bob
        HELLO 3
        CLIENT GETNAME
        RESET
        CLIENT GETNAME
        GET nokey
        CLIENT INFO
    ",
    ),
    both(
        "client: own",
        "
        CLIENT
        CLIENT FOO
        CLIENT FOO bar
        CLIENT MAINT_NOTIFICATIONS ON
        CLIENT ID
        CLIENT ID x
        CLIENT GETNAME
        CLIENT GETNAME x
        CLIENT SETNAME
        CLIENT SETNAME a b
        CLIENT SETNAME a\\_b
        CLIENT SETNAME a\\nb
        CLIENT SETNAME é
        CLIENT SETNAME worker-1
        CLIENT GETNAME
        CLIENT INFO
        CLIENT INFO x
        CLIENT SETNAME \"\"
        CLIENT GETNAME
        CLIENT NO-EVICT
        CLIENT NO-EVICT foo
        CLIENT NO-EVICT ON
        CLIENT INFO
        CLIENT NO-EVICT off
        CLIENT INFO
        HELLO 3
        CLIENT INFO
        CLIENT HELP
        CLIENT HELP x
        CLIENT REPLY
        CLIENT REPLY foo
        CLIENT REPLY ON
    ",
    ),
    both(
        "client: replies",
        "
        PING a
        ~CLIENT REPLY OFF
        ~PING b
        ~GET nokey
        CLIENT REPLY ON
        PING c
        ~CLIENT REPLY SKIP
        ~PING d
        PING e
        ~CLIENT REPLY SKIP
        ~CLIENT LIST ID 99999999
        CLIENT LIST ID 99999999
    ",
    ),
    only(
        "valkey",
        "client: library",
        "
        CLIENT SETINFO
        CLIENT SETINFO lib-name
        CLIENT SETINFO lib-name a b
        CLIENT SETINFO foo bar
        CLIENT SETINFO lib-name a\\_b
        CLIENT SETINFO LIB-NAME lib
        CLIENT SETINFO lib-VER 1.2
        CLIENT INFO
        CLIENT SETINFO lib-name \"\"
        CLIENT INFO
        CLIENT NO-TOUCH
        CLIENT NO-TOUCH foo
        CLIENT NO-TOUCH on
        CLIENT INFO
        CLIENT NO-TOUCH off
        CLIENT CAPA
        CLIENT CAPA foo
        CLIENT INFO
        CLIENT CAPA foo REDIRECT
        CLIENT INFO
        CLIENT CAPA foo
        CLIENT INFO
        RESET
        CLIENT INFO
    ",
    ),
    both(
        "client: list",
        "
        CLIENT SETNAME only-me
        CLIENT LIST
        CLIENT LIST foo
        CLIENT LIST TYPE
        CLIENT LIST TYPE foo
        CLIENT LIST TYPE normal
        CLIENT LIST TYPE NORMAL foo
        CLIENT LIST TYPE master
        CLIENT LIST TYPE slave
        CLIENT LIST TYPE Replica
        CLIENT LIST TYPE primary
        CLIENT LIST TYPE pubsub
        CLIENT LIST ID
        CLIENT LIST ID abc
        CLIENT LIST ID 0
        CLIENT LIST ID -1
        CLIENT LIST ID 01
        CLIENT LIST ID 99999999 x
        CLIENT LIST ID 99999998 99999999
        CLIENT LIST ID 99999998 TYPE normal
        HELLO 3
        CLIENT LIST
        CLIENT LIST ID 99999999
    ",
    ),
    both(
        "client: list with the options of newer servers",
        "
        CLIENT LIST TYPE replica TYPE pubsub
        CLIENT LIST SKIPME
        CLIENT LIST SKIPME foo
        CLIENT LIST SKIPME yes ID 99999999
        CLIENT LIST ID 99999998 99999999 ID 99999997
        CLIENT LIST ID 99999999 SKIPME
        CLIENT LIST MAXAGE
        CLIENT LIST MAXAGE 0
        CLIENT LIST MAXAGE -1
        CLIENT LIST MAXAGE abc
        CLIENT LIST MAXAGE 100000
        CLIENT LIST NOT-MAXAGE 5
        CLIENT LIST IDLE 0
        CLIENT LIST IDLE abc
        CLIENT LIST IDLE 100000
        CLIENT LIST NAME
        CLIENT LIST NAME nobody
        CLIENT LIST NAME a b
        CLIENT LIST NAME nobody NOT-NAME x
        CLIENT LIST USER
        CLIENT LIST USER nobody
        CLIENT LIST USER default ID 99999999
        CLIENT LIST NOT-USER default
        CLIENT LIST NOT-USER nobody
        CLIENT LIST ADDR 1.2.3.4:5
        CLIENT LIST LADDR 1.2.3.4:5
        CLIENT LIST IP 1.2.3.4
        CLIENT LIST NOT-IP 127.0.0.1
        CLIENT LIST FLAGS
        CLIENT LIST FLAGS z
        CLIENT LIST FLAGS xz
        CLIENT LIST FLAGS x
        CLIENT LIST NOT-FLAGS z
        CLIENT LIST NOT-FLAGS N
        CLIENT LIST CAPA r
        CLIENT LIST CAPA x
        CLIENT LIST DB
        CLIENT LIST DB 0 ID 99999999
        CLIENT LIST DB 1
        CLIENT LIST DB -1
        CLIENT LIST DB x
        CLIENT LIST NOT-DB 0
        CLIENT LIST NOT-DB 1
        CLIENT LIST LIB-NAME nothing
        CLIENT LIST LIB-VER nothing
        CLIENT LIST NOT-ID 0
        CLIENT LIST NOT-ID x
        CLIENT LIST NOT-TYPE normal
        CLIENT LIST NOT-TYPE foo
        CLIENT LIST TOT-NET-IN 1
    ",
    ),
    both(
        "client: kill",
        "
        CLIENT KILL
        CLIENT KILL foo
        CLIENT KILL 1.2.3.4:5
        CLIENT KILL 1.2.3.4:5 x
        CLIENT KILL ID
        CLIENT KILL ID abc
        CLIENT KILL ID 01
        CLIENT KILL ID 0
        CLIENT KILL ID -1
        CLIENT KILL ID 9223372036854775808
        CLIENT KILL ID 99999999
        CLIENT KILL ID 99999999 ID 99999998
        CLIENT KILL ID 99999999 99999998
        CLIENT KILL ID 99999999 ADDR
        CLIENT KILL ID 99999999 SKIPME
        CLIENT KILL ID 99999999 SKIPME maybe
        CLIENT KILL ID 99999999 SKIPME YES
        CLIENT KILL ID 99999999 SKIPME no
        CLIENT KILL TYPE foo
        CLIENT KILL TYPE master
        CLIENT KILL TYPE primary
        CLIENT KILL TYPE pubsub
        CLIENT KILL ADDR 1.2.3.4:5
        CLIENT KILL LADDR 1.2.3.4:5
        CLIENT KILL USER nobody
        CLIENT KILL MAXAGE 100000
        CLIENT KILL MAXAGE abc
        CLIENT KILL MAXAGE 0
        CLIENT KILL FOO
        CLIENT KILL FOO bar
        CLIENT KILL SKIPME no FOO bar
        CLIENT KILL NAME nobody
        CLIENT KILL IDLE 100000
        CLIENT KILL FLAGS x
        CLIENT KILL FLAGS z
        CLIENT KILL NOT-TYPE normal
        HELLO 3
        CLIENT KILL ID 99999999
        CLIENT KILL foo
    ",
    ),
    both(
        "client: kill of oneself",
        "
        CLIENT KILL USER default ID 99999999
        CLIENT KILL TYPE normal ID 99999999 SKIPME no
        PING
    ",
    ),
    both(
        "client: unblock, pause",
        "
        CLIENT UNBLOCK
        CLIENT UNBLOCK 99999999
        CLIENT UNBLOCK 0
        CLIENT UNBLOCK -1
        CLIENT UNBLOCK abc
        CLIENT UNBLOCK 01
        CLIENT UNBLOCK abc FOO
        CLIENT UNBLOCK 99999999 TIMEOUT
        CLIENT UNBLOCK 99999999 error
        CLIENT UNBLOCK 99999999 ERROR x
        CLIENT UNPAUSE
        CLIENT UNPAUSE x
        CLIENT PAUSE
        CLIENT GETREDIR x
        CLIENT TRACKING
        CLIENT CACHING
        MONITOR x
    ",
    ),
    both(
        "cluster",
        "
        CLUSTER
        CLUSTER NODES
        CLUSTER INFO
        CLUSTER SLOTS
        CLUSTER SHARDS
        CLUSTER MYID
        CLUSTER HELP
        CLUSTER FOO
        CLUSTER NODES x
        CLUSTER COUNTKEYSINSLOT
        CLUSTER COUNTKEYSINSLOT 1
    ",
    ),
    both(
        "command",
        "
        COMMAND COUNT
        COMMAND COUNT x
        COMMAND FOO
        COMMAND INFO get
        COMMAND INFO GET nosuch client|list config
        COMMAND DOCS get
        COMMAND DOCS nosuch
        COMMAND LIST FILTERBY
        COMMAND LIST FILTERBY FOO x
        COMMAND LIST FILTERBY MODULE nosuch
        COMMAND LIST FILTERBY PATTERN getr*
        COMMAND GETKEYS
        COMMAND GETKEYS get
        COMMAND GETKEYS get a
        COMMAND GETKEYS nosuch a
        COMMAND GETKEYS ping
        COMMAND GETKEYS mset a b c d
        COMMAND GETKEYS eval s 2 a b c
        COMMAND GETKEYSANDFLAGS set a b
        COMMAND GETKEYSANDFLAGS ping
        COMMAND HELP
        HELLO 3
        COMMAND COUNT
        COMMAND INFO get
        COMMAND DOCS get
        COMMAND GETKEYSANDFLAGS set a b
        COMMAND
    ",
    ),
    both(
        "config",
        "
        CONFIG
        CONFIG FOO
        CONFIG GET
        CONFIG GET nosuch
        CONFIG GET databases
        CONFIG GET cluster-enabled
        CONFIG GET CLUSTER-ENABLED
        CONFIG GET Databases MASTERAUTH
        CONFIG GET maxmemory
        CONFIG GET maxmemory-policy timeout
        CONFIG GET list-max-*
        CONFIG GET [
        CONFIG HELP
        CONFIG SET
        CONFIG SET a
        CONFIG RESETSTAT x
        CONFIG REWRITE x
        HELLO 3
        CONFIG GET databases
        CONFIG GET maxmemory-policy timeout
        CONFIG GET nosuch
    ",
    ),
    both(
        "info",
        "
        INFO nosuch
        INFO server
        INFO clients
        INFO memory
        INFO persistence
        INFO stats
        INFO replication
        INFO cpu
        INFO modules
        INFO keyspace
        INFO cluster
        INFO
        INFO everything
        INFO server clients
        HELLO 3
        INFO server
        INFO nosuch
    ",
    ),
    both(
        "unknown",
        "
        FOO
        FOO a b
        foo a\\r\\nb
        \"\"
        \"\" a
    ",
    ),
];

/// To a server that wants the password `secret`, as long as the client may have no further access.
pub(crate) const WITH_PASSWORD: &[Session] = &[both(
    "before authentication",
    "
        PING
        GET a
        ECHO a
        FOO
        GET
        CLIENT ID
        CLIENT SETNAME a
        INFO
        COMMAND COUNT
        CLUSTER NODES
        SELECT 0
        SELECT 1
        MONITOR
        READONLY
        HELLO
        HELLO 3
        HELLO 2
        HELLO 4
        HELLO 3 SETNAME a
        HELLO 3 AUTH default wrong
        HELLO 3 AUTH other secret
        HELLO 3 AUTH default
        AUTH
        AUTH wrong
        AUTH default wrong
        AUTH other secret
        AUTH default secret more
        RESET
        GET a
        AUTH secret
        GET a
        ACL WHOAMI
        AUTH wrong
        GET a
        HELLO 3
        HELLO 3 AUTH default wrong SETNAME b
        CLIENT GETNAME
        RESET
        GET a
        HELLO 3 AUTH default secret SETNAME c
        CLIENT GETNAME
        GET nokey
        HELLO 2
        GET nokey
        RESET
        PING
        QUIT
    ",
)];
