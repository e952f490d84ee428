//! A server that speaks no protocol at all, whatever it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How it misbehaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Raw {
    /// Accepts, and says nothing.
    Hang,
    /// One byte every 50 ms.
    Trickle,
    /// As much as is read, up to a gigabyte.
    Gigabyte,
    /// Closes at once.
    Close,
}

/// The server. It ends when it is dropped.
pub(crate) struct RawServer {
    pub(crate) port: u16,
    sent: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl RawServer {
    pub(crate) async fn start(does: Raw) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, does, Arc::clone(&counter)));
            }
        });
        Self {
            port,
            sent,
            accepting,
        }
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, does: Raw, sent: Arc<AtomicU64>) -> std::io::Result<()> {
    let piece = vec![b'x'; 64 * 1024];
    match does {
        Raw::Close => {}
        Raw::Hang => std::future::pending().await,
        Raw::Trickle => loop {
            stream.write_all(b"x").await?;
            sent.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
        },
        Raw::Gigabyte => {
            for _ in 0..16 * 1024 {
                stream.write_all(&piece).await?;
                sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
    }
    Ok(())
}
