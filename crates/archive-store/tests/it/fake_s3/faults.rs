//! What goes wrong.

use std::sync::Mutex;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;

/// Which requests go wrong.
#[derive(Clone)]
pub(crate) struct Fault {
    pub(crate) method: Method,
    /// Part of the key; empty is any key.
    pub(crate) key: &'static str,
    /// How often.
    pub(crate) times: usize,
    pub(crate) harm: Harm,
}

/// How.
#[derive(Clone)]
pub(crate) enum Harm {
    /// An error with a code of S3.
    Status(u16, &'static str),
    /// The connection is cut while the request's body arrives.
    CutRequest,
    /// The request is done, its reply never comes.
    LoseReply,
    /// The connection is cut in the middle of the reply's body.
    CutReply,
    /// The body of the reply ends early, its length says otherwise.
    ShortReply,
    /// The reply takes this long.
    Slow(Duration),
    /// A bit of the body is wrong.
    FlipByte,
    /// `If-None-Match` is ignored.
    Overwrite,
    /// Whether a name is taken is looked up before the body arrives, and not again.
    LoseRaces,
    /// Encryption is accepted and not done: no answer speaks of it.
    StoreInTheClear,
    /// Nothing is listed.
    ListNothing,
    /// An object that was put gets a version id, which is the only sign of versions here.
    NameVersion,
}

impl Fault {
    pub(crate) fn once(method: Method, key: &'static str, harm: Harm) -> Self {
        Self::times(1, method, key, harm)
    }

    pub(crate) fn always(method: Method, key: &'static str, harm: Harm) -> Self {
        Self::times(usize::MAX, method, key, harm)
    }

    pub(crate) fn times(times: usize, method: Method, key: &'static str, harm: Harm) -> Self {
        Self {
            method,
            key,
            times,
            harm,
        }
    }
}

/// The first fault that fits is used.
pub(super) fn next(faults: &Mutex<Vec<Fault>>, method: &Method, key: &str) -> Option<Harm> {
    let mut faults = faults.lock().unwrap();
    let fits = |fault: &&mut Fault| fault.times > 0 && fault.method == *method && key.contains(fault.key);
    let fault = faults.iter_mut().find(fits)?;
    fault.times -= 1;
    Some(fault.harm.clone())
}

/// Ends the connection's task, and with it the connection, without a word.
pub(super) fn hang_up() -> ! {
    std::panic::resume_unwind(Box::new("the fake hangs up"))
}

pub(super) fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    bytes.into()
}
