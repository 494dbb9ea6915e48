//! The `redis` crate: connections of one command at a time and the multiplexed one, RESP2 and RESP3.

use redis::{Commands, Connection};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

/// Tasks that share the multiplexed connection, and rounds of each.
const TASKS: u32 = 50;
const ROUNDS: u32 = 20;

pub(crate) fn check(proxy: SocketAddr) {
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://{proxy}/?protocol={protocol}");
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_connection().unwrap();
        commands(&mut connection);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(multiplexed(&client, protocol));
        eprintln!("redis crate, {protocol}: commands, pipeline, SCAN, multiplexed");
    }
}

fn commands(connection: &mut Connection) {
    let () = redis::cmd("FLUSHALL").query(connection).unwrap();
    let () = connection.set_ex("s", "v", 100).unwrap();
    assert_eq!(
        connection.get::<_, Option<String>>("s").unwrap().as_deref(),
        Some("v")
    );
    assert_eq!(
        connection.get::<_, Option<String>>("nothing").unwrap(),
        None
    );
    let pairs: Vec<(String, u32)> = (0..50).map(|i| (format!("key:{i}"), i)).collect();
    let () = connection.mset(&pairs).unwrap();
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    let values: Vec<u32> = connection.mget(&keys).unwrap();
    assert_eq!(values, (0..50).collect::<Vec<_>>());
    let () = connection
        .hset_multiple("h", &[("a", 1), ("b", 2)])
        .unwrap();
    let hash: HashMap<String, u32> = connection.hgetall("h").unwrap();
    assert_eq!((hash["a"], hash["b"]), (1, 2));
    let () = connection
        .zadd_multiple("z", &[(1.0, "a"), (2.5, "b")])
        .unwrap();
    let scored: Vec<(String, f64)> = connection.zrange_withscores("z", 0, -1).unwrap();
    assert_eq!(scored, [("a".to_owned(), 1.0), ("b".to_owned(), 2.5)]);
    let replies: (String, u32, Vec<u32>) = redis::pipe()
        .cmd("SET")
        .arg("n")
        .arg(1)
        .cmd("INCR")
        .arg("n")
        .cmd("MGET")
        .arg("n")
        .arg("key:7")
        .query(connection)
        .unwrap();
    assert_eq!(replies, ("OK".to_owned(), 2, vec![2, 7]));
    let found: BTreeSet<String> = connection
        .scan_match("key:*")
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(found.len(), 50);
    let info: redis::InfoDict = redis::cmd("INFO").query(connection).unwrap();
    assert_eq!(info.get::<u32>("cluster_enabled"), Some(0));
    let error = redis::cmd("SINTER")
        .arg("a")
        .arg("b")
        .query::<()>(connection)
        .unwrap_err();
    assert_eq!(error.code(), Some("CROSSSLOT"));
    assert_eq!(connection.del::<_, u32>(&keys).unwrap(), 50);
}

async fn multiplexed(client: &redis::Client, protocol: &str) {
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let mut connection = connection.clone();
        let key = format!("{protocol}:{task}");
        tasks.spawn(async move {
            use redis::AsyncCommands;
            for round in 1..=ROUNDS {
                assert_eq!(connection.incr::<_, _, u32>(&key, 1).await.unwrap(), round);
                assert_eq!(connection.get::<_, u32>(&key).await.unwrap(), round);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}
