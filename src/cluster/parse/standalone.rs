//! Reads what a server without cluster support answers to `INFO replication`.

use super::{AddressMap, ParseError, text, valid_host};
use crate::cluster::NodeAddr;
use crate::cluster::standalone::{Part, Server};
use std::sync::Arc;

/// Replicas of one server that are read; more would be a chain's.
const REPLICAS_MAX: usize = 256;

/// What the server asked at `source` says about itself and its replicas or its primary. `run_id` is from `INFO server`:
/// that tells a server with two names from two servers.
pub fn parse_server(
    source: &NodeAddr,
    run_id: &str,
    replication: &[u8],
    map: &AddressMap,
) -> Result<Server, ParseError> {
    const WHAT: &str = "INFO replication";
    let text = text(WHAT, replication)?;
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    };
    let part = match field("role") {
        Some("master") => Part::Primary {
            replicas: replicas(&text, map),
        },
        Some("slave") => {
            let primary = addr(field("master_host"), field("master_port"), map);
            Part::ReplicaOf(primary.ok_or(ParseError::Invalid(WHAT, "master_host"))?)
        }
        _ => return Err(ParseError::Invalid(WHAT, "role")),
    };
    // Without one it is whoever is at that address.
    let run_id: Arc<str> = match run_id {
        "" => source.to_string().into(),
        id => id.into(),
    };
    Ok(Server {
        source: source.clone(),
        run_id,
        part,
    })
}

/// `slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0`
fn replicas(text: &str, map: &AddressMap) -> Vec<(NodeAddr, bool)> {
    let lines = text.lines().filter_map(|line| {
        let (number, fields) = line.trim_end().strip_prefix("slave")?.split_once(':')?;
        number.parse::<u32>().ok()?;
        let field = |name: &str| {
            let mut fields = fields.split(',');
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let addr = addr(field("ip"), field("port"), map)?;
        Some((addr, field("state") == Some("online")))
    });
    lines.take(REPLICAS_MAX).collect()
}

fn addr(host: Option<&str>, port: Option<&str>, map: &AddressMap) -> Option<NodeAddr> {
    let host = host.filter(|host| !host.is_empty() && valid_host(host))?;
    let port = port?.parse().ok().filter(|&port| port != 0)?;
    Some(map.apply(NodeAddr::new(host, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Server, ParseError> {
        let reply = format!("${}\r\n{text}\r\n", text.len());
        let at = |host: &str| NodeAddr::new(host, 6379);
        let map = AddressMap::new([(at("10.0.0.3"), at("third"))]);
        parse_server(&at("seed"), "run", reply.as_bytes(), &map)
    }

    #[test]
    fn a_primary_names_its_replicas() {
        let server = read(
            "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
             slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0\r\n\
             slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0,type=replica\r\n\
             slave2:ip=,port=6379,state=online\r\nslave_priority:100\r\nmaster_replid:abc\r\n",
        );
        let server = server.unwrap();
        assert_eq!(&*server.run_id, "run");
        let Part::Primary { replicas } = server.part else {
            panic!("it is a primary")
        };
        let shown: Vec<_> = (replicas.iter())
            .map(|(addr, online)| format!("{addr} {online}"))
            .collect();
        assert_eq!(shown, ["10.0.0.2:6379 true", "third:6379 false"]);
    }

    #[test]
    fn a_replica_names_its_primary() {
        let server =
            read("role:slave\r\nmaster_host:db\r\nmaster_port:7000\r\nmaster_link_status:down\r\n");
        let Part::ReplicaOf(primary) = server.unwrap().part else {
            panic!("it is a replica")
        };
        assert_eq!(primary, NodeAddr::new("db", 7000));
    }

    #[test]
    fn what_says_neither_is_an_error() {
        for text in [
            "",
            "role:sentinel\r\n",
            "role:slave\r\nmaster_host:a b\r\nmaster_port:1\r\n",
            "role:slave\r\nmaster_host:a\r\nmaster_port:0\r\n",
        ] {
            assert!(
                matches!(read(text), Err(ParseError::Invalid("INFO replication", _))),
                "{text}"
            );
        }
        let refused = parse_server(
            &NodeAddr::new("a", 1),
            "",
            b"-NOPERM no\r\n",
            &AddressMap::default(),
        );
        assert!(matches!(refused, Err(ParseError::Refused(_))));
    }
}
