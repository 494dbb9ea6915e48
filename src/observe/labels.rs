//! Label values that are known beforehand, as enums: a writer indexes an array with them, the collector
//! writes their names. Values that are not known beforehand are bounded in `prefixes` and `worker`.

/// Declares an enum whose variants are the values of one label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of their indexes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            pub(super) const COUNT: usize = Self::ALL.len();

            /// The label's value.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            #[inline]
            pub(super) const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// Who worded an error that a client got.
    ErrorSource {
        /// slotway itself.
        Proxy = "proxy",
        /// A node; passed on as it was.
        Upstream = "upstream",
    }
}

label! {
    /// What a node said instead of executing a request.
    Redirection {
        /// The slot has another owner.
        Moved = "moved",
        /// This once, ask another node.
        Ask = "ask",
        /// Some of the keys are here, some there.
        TryAgain = "tryagain",
        /// The cluster does not serve the slot.
        ClusterDown = "clusterdown",
        /// A replica that lost its primary.
        MasterDown = "masterdown",
        /// The node reads its data set from disk.
        Loading = "loading",
        /// The node was demoted to replica.
        ReadOnly = "readonly",
        /// Passed on to the client, because a later command that shares a key has executed already.
        PassedOn = "passed_on",
    }
}

label! {
    /// Why a request was sent again.
    RetryReason {
        /// The node answered with a redirection to another one.
        Redirected = "redirected",
        /// The node refused for now (`TRYAGAIN`, `CLUSTERDOWN`, `LOADING` …).
        Refused = "refused",
        /// The connection was lost before the request's bytes were handed over.
        NotSent = "not_sent",
        /// The connection was lost afterwards, and the request only reads.
        ReadOnly = "read_only",
        /// The node did not know the script (`NOSCRIPT`) and was given it.
        Script = "script",
        /// The connection of a subscription was lost, or its slot moved.
        Resubscribed = "resubscribed",
    }
}

label! {
    /// What became of a command whose keys lie in several slots.
    CrossSlot {
        /// Cut into one part per slot or node, and the replies merged.
        Split = "split",
        /// Refused with `CROSSSLOT`.
        Refused = "refused",
    }
}

label! {
    /// What became of a transaction, as the reply to EXEC says.
    Exec {
        /// Its commands were executed, whatever each of them said.
        Executed = "executed",
        /// Nothing was executed: a watched key had changed, or the watch was lost.
        Nil = "nil",
        /// Nothing was executed, because of an error (`EXECABORT`).
        Aborted = "aborted",
        /// Nobody knows.
        Unknown = "unknown",
    }
}

label! {
    /// Why a connection was not taken, or closed by slotway.
    Rejected {
        /// `limits.clients` is reached.
        Clients = "clients",
        /// `limits.memory` is reached.
        Memory = "memory",
        /// The process has no file descriptor left.
        FileDescriptors = "file_descriptors",
        /// The client did not read its replies (`limits.client_output_hard`, `_soft`).
        Output = "output",
        /// slotway is going down and takes no new work.
        Draining = "draining",
    }
}

label! {
    /// What went wrong between slotway and a node.
    NodeError {
        /// No connection: refused, unreachable, name not found.
        Connect = "connect",
        /// Connecting took longer than `timeouts.connect`.
        ConnectTimeout = "connect_timeout",
        /// The node refused `HELLO`, `AUTH` or what else starts a connection.
        Handshake = "handshake",
        /// An established connection was lost.
        Lost = "lost",
        /// No reply within the command's time.
        Timeout = "timeout",
        /// The node sent what is no reply, or one reply too many.
        Protocol = "protocol",
        /// Failed fast, because the node is known to be down.
        Unavailable = "unavailable",
        /// The lane was full for `timeouts.queue`.
        Queue = "queue",
    }
}

label! {
    /// A bound of the configuration that was reached, by the name of its option.
    Limit {
        /// `limits.memory`.
        Memory = "limits.memory",
        /// `limits.clients`.
        Clients = "limits.clients",
        /// `limits.client_in_flight`.
        ClientInFlight = "limits.client_in_flight",
        /// `limits.client_in_flight_bytes`.
        ClientInFlightBytes = "limits.client_in_flight_bytes",
        /// `limits.client_output_hard`.
        ClientOutputHard = "limits.client_output_hard",
        /// `limits.client_output_soft`.
        ClientOutputSoft = "limits.client_output_soft",
        /// `limits.client_output_soft_time`.
        ClientOutputSoftTime = "limits.client_output_soft_time",
        /// `limits.request`.
        Request = "limits.request",
        /// `limits.argument`.
        Argument = "limits.argument",
        /// `limits.arguments`.
        Arguments = "limits.arguments",
        /// `limits.inline`.
        Inline = "limits.inline",
        /// `limits.preauth_arguments`.
        PreauthArguments = "limits.preauth_arguments",
        /// `limits.preauth_argument`.
        PreauthArgument = "limits.preauth_argument",
        /// `limits.reply_depth`.
        ReplyDepth = "limits.reply_depth",
        /// `upstream.bulk_bytes`.
        BulkBytes = "upstream.bulk_bytes",
        /// `upstream.leases`.
        Leases = "upstream.leases",
        /// `limits.lane_in_flight`.
        LaneInFlight = "limits.lane_in_flight",
        /// `limits.lane_in_flight_bytes`.
        LaneInFlightBytes = "limits.lane_in_flight_bytes",
        /// `limits.transaction_commands`.
        TransactionCommands = "limits.transaction_commands",
        /// `limits.transaction_bytes`.
        TransactionBytes = "limits.transaction_bytes",
        /// `limits.subscribers`.
        Subscribers = "limits.subscribers",
        /// `limits.subscriptions`.
        Subscriptions = "limits.subscriptions",
        /// `limits.redirections`.
        Redirections = "limits.redirections",
        /// `limits.blocked_clients`.
        BlockedClients = "limits.blocked_clients",
        /// `limits.watchers`.
        Watchers = "limits.watchers",
        /// `limits.monitors`.
        Monitors = "limits.monitors",
        /// `limits.monitor_buffer`.
        MonitorBuffer = "limits.monitor_buffer",
        /// `limits.scripts`.
        Scripts = "limits.scripts",
        /// `limits.script_bytes`.
        ScriptBytes = "limits.script_bytes",
        /// `timeouts.connect`.
        ConnectTimeout = "timeouts.connect",
        /// `timeouts.command`.
        CommandTimeout = "timeouts.command",
        /// `timeouts.slow_command`.
        SlowCommandTimeout = "timeouts.slow_command",
        /// `timeouts.unavailable`.
        UnavailableTimeout = "timeouts.unavailable",
        /// `timeouts.queue`.
        QueueTimeout = "timeouts.queue",
        /// `timeouts.drain`.
        DrainTimeout = "timeouts.drain",
        /// `timeouts.idle`.
        IdleTimeout = "timeouts.idle",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_dense() {
        for (i, kind) in NodeError::ALL.iter().enumerate() {
            assert_eq!(kind.index(), i);
        }
        assert_eq!(NodeError::COUNT, NodeError::ALL.len());
    }
}
