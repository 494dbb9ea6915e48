//! A plain server, and slotway with a cluster of the same program behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use slotway::demo::{Cluster, ClusterOptions, Server};

use super::differences::{self, Case};
use crate::support::{Proxy, RawClient, ServerKind, cluster_options, reply_end, show};
use crate::wire::cuts;

/// What clients say where one is asked for.
pub const PASSWORD: &str = "open-sesame";

/// How long a client may take to be answered and closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(20);

/// See the module.
pub struct Pair {
    name: &'static str,
    plain: Server,
    proxy: Proxy,
    /// Empty both between inputs.
    administrators: [RawClient; 2],
    compared: usize,
    /// How often each difference was met.
    met: BTreeMap<&'static str, usize>,
    _cluster: Cluster,
    _password: tempfile::NamedTempFile,
}

impl Pair {
    /// Boots both; with a password, both ask for it.
    pub fn start(kind: &ServerKind, password: Option<&str>) -> Self {
        // A cluster has one database.
        let plain = Server::boot(&kind.path, &[("databases", "1")]).expect("a plain server");
        let options = ClusterOptions {
            replicas: 0,
            ..cluster_options(kind)
        };
        let cluster =
            Cluster::boot(&options).unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut args = vec!["--workers".to_owned(), "1".to_owned()];
        if let Some(password) = password {
            std::fs::write(file.path(), password).unwrap();
            let option = format!("auth.password_file={}", file.path().display());
            args.extend(["--set".to_owned(), option]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let proxy = Proxy::start(&cluster, &args);
        let mut administrators = [plain.addr(), proxy.addr()].map(RawClient::connect);
        if let Some(password) = password {
            administrators[0].expect(&format!("CONFIG SET requirepass {password}"), b"+OK\r\n");
            for administrator in &mut administrators {
                administrator.expect(&format!("AUTH {password}"), b"+OK\r\n");
            }
        }
        let [direct, proxied] = &mut administrators;
        let newest = direct.line("HTTL");
        proxy.wait_for("the command table", CLOSED_WITHIN, || {
            match proxied.line("HTTL") {
                answer if answer == newest => Ok(()),
                other => Err(show(&other)),
            }
        });
        Self {
            name: kind.name,
            plain,
            proxy,
            administrators,
            compared: 0,
            met: BTreeMap::new(),
            _cluster: cluster,
            _password: file,
        }
    }

    /// Sends some bytes to both, to slotway in pieces, and compares all that comes back until the close.
    pub fn compare(&mut self, input: &[u8]) {
        for administrator in &mut self.administrators {
            administrator.expect("FLUSHALL", b"+OK\r\n");
        }
        // Where it is cut depends on the input, so that an input says everything.
        let seed = input.iter().fold(0_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        let cuts = cuts(input.len(), &mut StdRng::seed_from_u64(seed));
        let direct = answer(RawClient::connect(self.plain.addr()), input, &[]);
        let proxied = answer(self.proxy.client(), input, &cuts);
        let (direct, proxied) = (replies(&direct), replies(&proxied));
        let same = direct.iter().zip(&proxied).take_while(|(a, b)| a == b);
        let same = same.count();
        self.compared += same;
        if same == direct.len() && same == proxied.len() {
            return;
        }
        let case = Case {
            server: self.name,
            input,
            direct: direct[same..].concat(),
            proxied: proxied[same..].concat(),
        };
        let difference = differences::of(&case).unwrap_or_else(|| {
            panic!(
                "after {same} replies that are the same\n  direct: {}\n  proxied: {}",
                show(&case.direct),
                show(&case.proxied)
            )
        });
        *self.met.entry(difference.what).or_default() += 1;
    }

    /// Says what was compared.
    pub fn tell(&self) {
        eprintln!(
            "{}: {} replies were the same; differences met: {:?}",
            self.name, self.compared, self.met
        );
    }
}

/// All that comes back; no more is sent behind the input.
fn answer(mut client: RawClient, input: &[u8], cuts: &[usize]) -> Vec<u8> {
    client.wait_at_most(CLOSED_WITHIN);
    client.try_send_in_pieces(input, cuts);
    client.half_close();
    client
        .try_rest()
        .unwrap_or_else(|so_far| panic!("no close, after {}", show(&so_far)))
}

/// The replies, without what no two servers have in common; a part of one at the end.
fn replies(answer: &[u8]) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    let mut at = 0;
    while at < answer.len() {
        let end = reply_end(answer, at).unwrap_or(answer.len());
        replies.push(differences::normal(&answer[at..end]));
        at = end;
    }
    replies
}
