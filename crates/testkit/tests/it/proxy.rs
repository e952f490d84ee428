//! Every way in which the proxy fails a connection.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use eidos_testkit::{PortLease, ProxyMode, TcpProxy, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long nothing must arrive to be believed.
const SILENCE: Duration = Duration::from_millis(80);
const SOON: Duration = Duration::from_secs(10);

/// A server that sends everything back, and a proxy in front of it.
async fn echo() -> TcpProxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    TcpProxy::start(port).await
}

async fn connect(proxy: &TcpProxy) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
        .await
        .unwrap()
}

/// How a new connection fails. The kernel accepts before the proxy resets, so the error shows either at the
/// connect or at the first read.
async fn error_of_new(proxy: &TcpProxy) -> ErrorKind {
    let attempt = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await?;
        stream.read_u8().await
    };
    timeout(SOON, attempt).await.unwrap().unwrap_err().kind()
}

async fn receive(stream: &mut TcpStream, bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    timeout(SOON, stream.read_exact(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(buffer).unwrap()
}

async fn exchange(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(receive(stream, text.len()).await, text);
}

async fn is_silent(stream: &mut TcpStream) {
    let read = timeout(SILENCE, stream.read_u8()).await;
    assert!(read.is_err(), "{read:?}");
}

async fn request_bytes(proxy: &TcpProxy, expected: u64) {
    eventually("the requests arrive", SOON, async || {
        match proxy.traffic().request_bytes {
            seen if seen == expected => Ok(()),
            seen => Err(format!("{seen} bytes of {expected}")),
        }
    })
    .await;
}

#[tokio::test]
async fn pass_carries_both_ways_and_half_closes() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    exchange(&mut stream, "hello").await;
    stream.write_all(b"bye").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    timeout(SOON, stream.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rest, "bye");
    let traffic = proxy.traffic();
    assert_eq!(
        (traffic.connections, traffic.request_bytes, traffic.reply_bytes),
        (1, 8, 8)
    );
}

#[tokio::test]
async fn a_blackhole_holds_both_ways_and_lets_go() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    exchange(&mut old, "one").await;
    proxy.set(ProxyMode::Blackhole).await;
    let mut new = connect(&proxy).await;
    old.write_all(b"two").await.unwrap();
    new.write_all(b"six").await.unwrap();
    is_silent(&mut old).await;
    is_silent(&mut new).await;
    assert_eq!(proxy.traffic().request_bytes, 3, "nothing reached the server");
    proxy.set(ProxyMode::Pass).await;
    assert_eq!(receive(&mut old, 3).await, "two");
    assert_eq!(receive(&mut new, 3).await, "six");
}

#[tokio::test]
async fn a_one_way_blackhole_delivers_the_request_and_holds_the_reply() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    exchange(&mut stream, "one").await;
    proxy.set(ProxyMode::BlackholeReplies).await;
    stream.write_all(b"two").await.unwrap();
    request_bytes(&proxy, 6).await;
    is_silent(&mut stream).await;
    assert_eq!(proxy.traffic().reply_bytes, 3);
    proxy.set(ProxyMode::Pass).await;
    assert_eq!(receive(&mut stream, 3).await, "two");
}

#[tokio::test]
async fn delay_makes_everything_later() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    let each_way = Duration::from_millis(60);
    proxy.set(ProxyMode::Delay(each_way)).await;
    let started = Instant::now();
    exchange(&mut stream, "one").await;
    assert!(started.elapsed() >= each_way * 2, "{:?}", started.elapsed());
    proxy.set(ProxyMode::Pass).await;
    exchange(&mut stream, "two").await;
}

#[tokio::test]
async fn reset_breaks_old_and_new_connections() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    exchange(&mut old, "one").await;
    proxy.set(ProxyMode::Reset).await;
    let broken = timeout(SOON, old.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
    assert_eq!(error_of_new(&proxy).await, ErrorKind::ConnectionReset);
    proxy.set(ProxyMode::Pass).await;
    exchange(&mut connect(&proxy).await, "two").await;
}

#[tokio::test]
async fn refuse_closes_the_old_and_refuses_the_new() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    exchange(&mut old, "one").await;
    proxy.set(ProxyMode::Refuse).await;
    assert_eq!(
        timeout(SOON, old.read(&mut [0; 8])).await.unwrap().unwrap(),
        0,
        "closed in an orderly way"
    );
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    proxy.set(ProxyMode::Pass).await;
    exchange(&mut connect(&proxy).await, "two").await;
}

#[tokio::test]
async fn truncate_cuts_in_the_middle_of_a_reply() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    exchange(&mut stream, "before").await;
    proxy.set(ProxyMode::TruncateReplies { after_bytes: 4 }).await;
    stream.write_all(b"0123456789").await.unwrap();
    let mut got = String::new();
    timeout(SOON, stream.read_to_string(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, "0123");
    let mut another = connect(&proxy).await;
    another.write_all(b"abcd").await.unwrap();
    got.clear();
    timeout(SOON, another.read_to_string(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        got, "abcd",
        "each connection has its own count, and the limit cuts even at the end of a piece"
    );
}

#[tokio::test]
async fn trickle_never_stops_and_never_hurries() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    proxy
        .set(ProxyMode::Trickle {
            bytes: 2,
            every: Duration::from_millis(20),
        })
        .await;
    let started = Instant::now();
    stream.write_all(b"0123456789").await.unwrap();
    let mut pieces = 0;
    let mut got = Vec::new();
    while got.len() < 10 {
        let mut buffer = [0; 16];
        let count = timeout(SOON, stream.read(&mut buffer)).await.unwrap().unwrap();
        got.extend_from_slice(&buffer[..count]);
        pieces += 1;
    }
    assert_eq!(got, b"0123456789");
    assert!(
        pieces >= 3 && started.elapsed() >= Duration::from_millis(80),
        "{pieces} in {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_large_stream_arrives_whole_over_changes_of_mode() {
    let proxy = echo().await;
    let stream = connect(&proxy).await;
    let sent: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
    let (mut read, mut write) = stream.into_split();
    let outgoing = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&outgoing).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let changes = async {
        let brief = Duration::from_millis(1);
        let trickle = ProxyMode::Trickle {
            bytes: 1000,
            every: brief,
        };
        for mode in [
            ProxyMode::Blackhole,
            ProxyMode::Delay(brief),
            ProxyMode::BlackholeReplies,
            trickle,
        ] {
            proxy.set(mode).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.set(ProxyMode::Pass).await;
    };
    let mut got = Vec::new();
    let ((), read) = tokio::join!(changes, timeout(SOON, read.read_to_end(&mut got)));
    read.unwrap().unwrap();
    writer.await.unwrap();
    assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
}

#[tokio::test]
async fn a_dead_server_looks_dead() {
    // A lease, not a port the kernel just gave back: it could give it out again.
    let dead = PortLease::take().unwrap();
    let proxy = TcpProxy::start(dead.port()).await;
    assert_eq!(error_of_new(&proxy).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_dropped_proxy_ends_its_connections() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    exchange(&mut stream, "one").await;
    drop(proxy);
    let ended = timeout(SOON, stream.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(ended, Ok(0)) || ended.is_err());
}
