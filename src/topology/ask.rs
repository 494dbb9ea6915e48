//! One question to one node: what is sent, within which time, and what comes of it.

use super::TopologySettings;
use super::link::{Link, LinkError, error_text};
use crate::cluster::{
    AddressMap, Answers, NoPrimary, NodeAddr, ParseError, Server, SlotsAnswer, View, parse_server,
    parse_view,
};
use crate::config::ClusterMode;
use crate::io::in_time;
use std::time::Duration;

/// Longest time a node may take to answer once it is connected.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The end of a question.
pub(super) struct Answer {
    /// Who was asked.
    pub(super) addr: NodeAddr,
    /// The connection, to be kept, unless it is of no use any more.
    pub(super) link: Option<Link>,
    /// What the node believes.
    pub(super) said: Result<Said, AskError>,
}

/// What a node is, and says.
#[derive(Debug)]
pub(super) enum Said {
    /// It is part of a cluster.
    Cluster(View),
    /// It has no cluster support.
    Standalone(Server),
}

/// Why a question brought no view.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("it is not part of a cluster")]
    NoCluster,
    #[error("it is part of a cluster")]
    IsCluster,
    #[error("it is a sentinel")]
    Sentinel,
    #[error("it says nothing about replication: {0}")]
    Replication(ParseError),
    #[error(transparent)]
    NoPrimary(NoPrimary),
}

impl AskError {
    /// What an operator can do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Link(LinkError::Resolve(_)) => "check the name in cluster.nodes, and DNS",
            Self::Link(LinkError::Refused(_)) => {
                "check upstream.username and upstream.password_file"
            }
            Self::Link(LinkError::Silent(_)) => {
                "the node accepts and does not answer: is it stopped, or overloaded?"
            }
            Self::Link(_) => "check that the node runs and that its port is open from here",
            Self::Parse(ParseError::Refused(_)) => {
                "allow the user of upstream.username: +cluster|shards +cluster|slots +cluster|nodes +cluster|info"
            }
            Self::Parse(_) => "is this a Redis or Valkey cluster node? Please report the answer",
            Self::NoCluster => {
                "cluster.nodes must name nodes that run with cluster-enabled yes; for a server without, cluster.mode is to be auto or standalone"
            }
            Self::IsCluster => "set cluster.mode to auto or cluster, or name other nodes",
            Self::Sentinel => "cluster.nodes must name the servers that it watches",
            Self::Replication(_) => "allow the user of upstream.username: +info",
            Self::NoPrimary(error) => error.hint(),
        }
    }
}

/// Asks the node at `addr` for its view, over `link` or a new connection. Ends by itself within the connect timeout
/// plus [`ANSWER_WITHIN`]; dropping it closes the connection.
pub(super) async fn ask(
    addr: NodeAddr,
    link: Option<Link>,
    settings: &TopologySettings,
    map: &AddressMap,
) -> Answer {
    let opened = match link {
        Some(link) => Ok(link),
        None => open(&addr, settings).await,
    };
    let mut link = match opened {
        Ok(link) => link,
        Err(error) => {
            return Answer {
                addr,
                link: None,
                said: Err(error.into()),
            };
        }
    };
    let said = match in_time(ANSWER_WITHIN, question(&mut link, &addr, map)).await {
        Some(said) => said,
        None => Err(LinkError::Silent(ANSWER_WITHIN).into()),
    };
    let said = said.and_then(|said| match (settings.mode, &said) {
        (ClusterMode::Cluster, Said::Standalone(_)) => Err(AskError::NoCluster),
        (ClusterMode::Standalone, Said::Cluster(_)) => Err(AskError::IsCluster),
        _ => Ok(said),
    });
    let reusable = !matches!(said, Err(AskError::Link(_))) && link.is_clean();
    Answer {
        addr,
        link: reusable.then_some(link),
        said,
    }
}

/// A new connection. The connect timeout covers dialling; the handshake gets as long as an answer.
async fn open(addr: &NodeAddr, settings: &TopologySettings) -> Result<Link, LinkError> {
    let connect = settings.connect_timeout;
    let opening = Link::open(addr, settings.credentials.as_ref(), connect);
    match in_time(connect + ANSWER_WITHIN, opening).await {
        Some(link) => link,
        None => Err(LinkError::Silent(ANSWER_WITHIN)),
    }
}

async fn question(link: &mut Link, addr: &NodeAddr, map: &AddressMap) -> Result<Said, AskError> {
    if link.profile.is_sentinel {
        return Err(AskError::Sentinel);
    }
    let replies = link
        .ask(&[
            &["CLUSTER", "INFO"],
            &["CLUSTER", "NODES"],
            &["CLUSTER", "SHARDS"],
        ])
        .await?;
    if replies
        .iter()
        .filter_map(|r| error_text(r))
        .any(|e| e.contains("cluster support disabled"))
    {
        let replication = link.ask(&[&["INFO", "replication"]]).await?.swap_remove(0);
        let server = parse_server(addr, &link.profile.run_id, &replication, map);
        return server.map(Said::Standalone).map_err(AskError::Replication);
    }
    let mut answers = Answers {
        info: &replies[0],
        nodes: &replies[1],
        slots: SlotsAnswer::Shards(&replies[2]),
    };
    let slots;
    if error_text(&replies[2]).is_some() {
        slots = link.ask(&[&["CLUSTER", "SLOTS"]]).await?.swap_remove(0);
        answers.slots = SlotsAnswer::Slots(&slots);
    }
    Ok(Said::Cluster(parse_view(addr, &answers, map)?))
}
