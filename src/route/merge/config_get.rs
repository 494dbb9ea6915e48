//! CONFIG GET of one node, presented as that of one standalone server: what would make a client believe
//! that it talks to a cluster is overridden, what is the proxy's own is told by the proxy, and the
//! passwords between proxy and nodes are not shown. Called by `merge`.

use super::Facts;
use crate::resp::{self, encode};

/// Appends `reply`, a map or flat array of names and values, with the overrides. `None` if it is no such thing.
pub(super) fn present(reply: &[u8], facts: &Facts, out: &mut Vec<u8>) -> Option<()> {
    let elements = resp::elements(reply)?;
    if elements.len() % 2 != 0 {
        return None;
    }
    let header = elements.first().map_or(reply.len(), |first| first.start);
    out.extend_from_slice(&reply[..header]);
    for pair in elements.chunks_exact(2) {
        let name = &reply[pair[0].clone()];
        out.extend_from_slice(name);
        match overridden(resp::bulk(name)?, facts) {
            Some(value) => encode::bulk(out, value.as_bytes()),
            None => out.extend_from_slice(&reply[pair[1].clone()]),
        }
    }
    Some(())
}

/// Servers tell a name as the client wrote it, in capitals or not.
fn overridden(name: &[u8], facts: &Facts) -> Option<String> {
    let value = match &*name.to_ascii_lowercase() {
        b"databases" => "1".to_owned(),
        b"cluster-enabled" => "no".to_owned(),
        b"maxclients" => facts.clients_max.to_string(),
        b"port" => facts.port.to_string(),
        // Those of the nodes: secrets of the operator, or addresses past the proxy.
        b"requirepass"
        | b"masterauth"
        | b"primaryauth"
        | b"masteruser"
        | b"primaryuser"
        | b"tls-key-file-pass"
        | b"tls-client-key-file-pass"
        | b"replicaof"
        | b"slaveof"
        | b"cluster-announce-ip"
        | b"cluster-announce-hostname" => String::new(),
        _ => return None,
    };
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(reply: &str) -> Option<String> {
        let facts = Facts {
            clients_max: 10_000,
            port: 6379,
            ..Facts::default()
        };
        let mut out = Vec::new();
        present(reply.as_bytes(), &facts, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_must_look_standalone_does_in_both_protocols() {
        let pairs = "$9\r\ndatabases\r\n$2\r\n16\r\n$4\r\nsave\r\n$0\r\n\r\n$15\r\ncluster-enabled\r\n$3\r\nyes\r\n";
        let shown = "$9\r\ndatabases\r\n$1\r\n1\r\n$4\r\nsave\r\n$0\r\n\r\n$15\r\ncluster-enabled\r\n$2\r\nno\r\n";
        assert_eq!(
            presented(&format!("*6\r\n{pairs}")),
            Some(format!("*6\r\n{shown}"))
        );
        assert_eq!(
            presented(&format!("%3\r\n{pairs}")),
            Some(format!("%3\r\n{shown}"))
        );
        assert_eq!(presented("%0\r\n").as_deref(), Some("%0\r\n"));
    }

    #[test]
    fn the_nodes_passwords_are_not_shown() {
        for name in ["requirepass", "REQUIREPASS", "masterAuth", "primaryauth"] {
            let header = format!("*2\r\n${}\r\n{name}\r\n", name.len());
            let shown = presented(&format!("{header}$3\r\nxyz\r\n"));
            assert_eq!(shown, Some(format!("{header}$0\r\n\r\n")));
        }
    }

    #[test]
    fn another_shape_is_not_taken_for_a_configuration() {
        assert_eq!(presented("*1\r\n+a\r\n"), None);
        assert_eq!(presented("+OK\r\n"), None);
        assert_eq!(presented("*2\r\n:1\r\n:2\r\n"), None);
    }
}
