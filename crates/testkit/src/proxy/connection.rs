//! One connection through the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::Counters;
use super::mode::{Direction, ProxyMode, Verdict};

/// Largest piece read at once.
const PIECE_BYTES: usize = 16 * 1024;

type Modes = watch::Receiver<ProxyMode>;

/// How one direction came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender closed its side and everything it sent was delivered.
    Eof,
    /// The mode cut it.
    Cut,
    /// One side reset the connection.
    Broken,
}

/// Serves one client until either side or the mode ends the connection.
pub(super) async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    mut modes: Modes,
    counters: Arc<Counters>,
) {
    let mut ending = modes.clone();
    let ended = tokio::select! {
        biased;
        mode = ending.wait_for(|mode| mode.ends_connections()) => {
            mode.is_ok_and(|mode| *mode == ProxyMode::Reset)
        }
        broken = carry(&mut client, upstream, &mut modes, &counters) => broken,
    };
    if ended {
        // With a linger of zero the close becomes a reset; it fails only on a connection that is gone.
        let _ = client.set_zero_linger();
    }
}

/// Carries both directions; says whether the connection is to end with a reset.
async fn carry(client: &mut TcpStream, upstream: SocketAddr, modes: &mut Modes, counters: &Counters) -> bool {
    // Behind a blackhole not even the handshake with the server takes place.
    if modes
        .wait_for(|mode| *mode != ProxyMode::Blackhole)
        .await
        .is_err()
    {
        return false;
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return true;
    };
    let end = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let mut requests = Pump::new(
            client_read,
            server_write,
            Direction::Requests,
            modes.clone(),
            &counters.request_bytes,
        );
        let mut replies = Pump::new(
            server_read,
            client_write,
            Direction::Replies,
            modes.clone(),
            &counters.reply_bytes,
        );
        both(requests.run(), replies.run()).await
    };
    match end {
        End::Eof => false,
        End::Broken => {
            // The server learns of it in the same way as the client.
            let _ = server.set_zero_linger();
            true
        }
        End::Cut => {
            drop(server);
            let _ = client.shutdown().await;
            drain(client).await;
            false
        }
    }
}

/// Runs both directions to their ends; the first that does not end well ends the other.
async fn both(requests: impl Future<Output = End>, replies: impl Future<Output = End>) -> End {
    tokio::pin!(requests, replies);
    tokio::select! {
        end = &mut requests => if end == End::Eof { replies.await } else { end },
        end = &mut replies => if end == End::Eof { requests.await } else { end },
    }
}

/// Reads and forgets what the client still sends: closing with unread data would turn the close into a reset.
async fn drain(client: &mut TcpStream) {
    let mut sink = vec![0_u8; PIECE_BYTES];
    while matches!(client.read(&mut sink).await, Ok(count) if count > 0) {}
}

struct Pump<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    direction: Direction,
    modes: Modes,
    delivered: &'a AtomicU64,
    since_change: u64,
}

impl<'a> Pump<'a> {
    fn new(
        from: ReadHalf<'a>,
        to: WriteHalf<'a>,
        direction: Direction,
        modes: Modes,
        delivered: &'a AtomicU64,
    ) -> Self {
        Self {
            from,
            to,
            direction,
            modes,
            delivered,
            since_change: 0,
        }
    }

    async fn run(&mut self) -> End {
        let mut buffer = vec![0_u8; PIECE_BYTES];
        loop {
            // Reading one piece ahead is harmless while held: it is delivered before all that follows.
            let count = match self.from.read(&mut buffer).await {
                Ok(0) => return self.finish().await,
                Ok(count) => count,
                Err(_reset) => return End::Broken,
            };
            if let Err(end) = self.deliver(buffer.get(..count).unwrap_or_default()).await {
                return end;
            }
        }
    }

    /// Delivers a piece as the mode of each moment wants it.
    async fn deliver(&mut self, mut piece: &[u8]) -> Result<(), End> {
        let mut waited = false;
        while !piece.is_empty() {
            match self.verdict(piece.len()) {
                Verdict::Close => return Err(End::Cut),
                Verdict::Hold => self.changed().await?,
                Verdict::Deliver { before, .. } if !before.is_zero() && !waited => {
                    self.sleep(before).await;
                    waited = true;
                }
                Verdict::Deliver { bytes, after, .. } => {
                    let (now, later) = piece.split_at(bytes);
                    self.to.write_all(now).await.map_err(|_reset| End::Broken)?;
                    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                    self.delivered.fetch_add(bytes, Ordering::Relaxed);
                    self.since_change = self.since_change.saturating_add(bytes);
                    piece = later;
                    // The limit may be reached exactly here, with nothing more to come.
                    if self.verdict(1) == Verdict::Close {
                        return Err(End::Cut);
                    }
                    self.sleep(after).await;
                }
            }
        }
        Ok(())
    }

    /// Passes the sender's close on, once the mode lets it through.
    async fn finish(&mut self) -> End {
        while self.verdict(0) == Verdict::Hold {
            if let Err(end) = self.changed().await {
                return end;
            }
        }
        let _ = self.to.shutdown().await;
        End::Eof
    }

    fn verdict(&mut self, available: usize) -> Verdict {
        if self.modes.has_changed().unwrap_or(false) {
            self.since_change = 0;
        }
        let mode = *self.modes.borrow_and_update();
        mode.verdict(self.direction, available, self.since_change)
    }

    async fn changed(&mut self) -> Result<(), End> {
        self.modes.changed().await.map_err(|_gone| End::Cut)?;
        self.since_change = 0;
        Ok(())
    }

    /// Waits, but not longer than the mode lasts.
    async fn sleep(&mut self, pause: Duration) {
        if !pause.is_zero() {
            let mut modes = self.modes.clone();
            let _ = tokio::time::timeout(pause, modes.changed()).await;
        }
    }
}
