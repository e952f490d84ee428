//! [`ProxyMode`]: the ways in which a network fails.

use std::time::Duration;

/// How a [`crate::TcpProxy`] treats its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// Everything arrives.
    Pass,
    /// Nothing arrives, in either direction, and nobody is told: connections stay open and new ones are accepted.
    /// What was sent is held, not lost, and arrives when the mode changes, as TCP would retransmit it.
    Blackhole,
    /// Requests arrive and are carried out, replies are held: the sender cannot know the outcome.
    BlackholeReplies,
    /// Each piece, in each direction, arrives later by this much.
    Delay(Duration),
    /// Connections are reset, new ones too, once they are accepted.
    Reset,
    /// Connections are closed and new ones refused: the server's machine is up, the server is not.
    Refuse,
    /// Each connection delivers so many more bytes of replies and is then closed in an orderly way: a reply that
    /// ends in its middle.
    TruncateReplies {
        /// Bytes of replies, counted for each connection from the change to this mode.
        after_bytes: u64,
    },
    /// Replies arrive in small pieces with pauses between them: no timeout between two reads ever fires.
    Trickle {
        /// Size of a piece, at least 1.
        bytes: usize,
        /// Pause after each piece.
        every: Duration,
    },
}

/// Which way a byte goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

/// What to do with a piece of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Keep it until the mode changes.
    Hold,
    /// Deliver it: after `before`, at most `bytes` of it, then wait `after`.
    Deliver {
        before: Duration,
        bytes: usize,
        after: Duration,
    },
    /// Deliver nothing more and close.
    Close,
}

impl ProxyMode {
    /// Whether the mode ends the connections there are.
    pub(super) const fn ends_connections(self) -> bool {
        matches!(self, Self::Reset | Self::Refuse)
    }

    /// What to do with `available` bytes on a connection that delivered `since_change` bytes in this direction
    /// since the mode changed.
    pub(super) fn verdict(self, direction: Direction, available: usize, since_change: u64) -> Verdict {
        let deliver = |before, bytes, after| Verdict::Deliver { before, bytes, after };
        match (self, direction) {
            (Self::Blackhole, _) | (Self::BlackholeReplies, Direction::Replies) => Verdict::Hold,
            (Self::Reset | Self::Refuse, _) => Verdict::Close,
            (Self::Delay(before), _) => deliver(before, available, Duration::ZERO),
            (Self::Trickle { bytes, every }, Direction::Replies) => {
                deliver(Duration::ZERO, available.min(bytes.max(1)), every)
            }
            (Self::TruncateReplies { after_bytes }, Direction::Replies) => {
                let left = after_bytes.saturating_sub(since_change);
                match usize::try_from(left).unwrap_or(usize::MAX) {
                    0 => Verdict::Close,
                    left => deliver(Duration::ZERO, available.min(left), Duration::ZERO),
                }
            }
            (
                Self::Pass | Self::BlackholeReplies | Self::TruncateReplies { .. } | Self::Trickle { .. },
                _,
            ) => deliver(Duration::ZERO, available, Duration::ZERO),
        }
    }
}
