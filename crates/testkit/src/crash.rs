//! [`crash_point`]: a process that dies at a named place.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};

use nix::sys::signal::{Signal, raise};

/// The environment variable that arms one crash point: `name` or `name:n`, where n counts from 1 and says at which
/// pass to die.
pub const CRASH_VARIABLE: &str = "EIDOS_CRASH_AT";

static ARMED: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
    std::env::var(CRASH_VARIABLE)
        .ok()
        .filter(|text| !text.is_empty())
        .map(|text| parse(&text))
});

static PASSES: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

/// Dies by SIGKILL when [`CRASH_VARIABLE`] names this place, and does nothing otherwise. No destructor runs and no
/// buffer is flushed: it is what `kill -9` at this line would do.
///
/// For **test binaries**: a job written for a test, a fake, the main of a probe. Production code contains no crash
/// points (testkit is a development dependency, so it cannot); to kill a real service use [`crate::ChildProcess`]
/// and wait for what it shows from outside: a row, a line, a block.
pub fn crash_point(name: &str) {
    let Some((armed, at)) = &*ARMED else { return };
    if armed != name {
        return;
    }
    let mut passes = PASSES.lock().unwrap_or_else(PoisonError::into_inner);
    let pass = passes.entry(name.to_owned()).or_insert(0);
    *pass += 1;
    if *pass == *at {
        let _ = writeln!(std::io::stderr(), "crash point {name}: dying at pass {pass}");
        let _ = raise(Signal::SIGKILL);
    }
}

fn parse(text: &str) -> (String, u32) {
    match text.rsplit_once(':') {
        None => (text.to_owned(), 1),
        Some((name, count)) => match count.parse() {
            Ok(at) if at > 0 => (name.to_owned(), at),
            _ => panic!("{CRASH_VARIABLE}={text}: what follows the colon must be a number from 1"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_pass_defaults_to_the_first() {
        assert_eq!(parse("step"), ("step".to_owned(), 1));
        assert_eq!(parse("step:3"), ("step".to_owned(), 3));
    }

    #[test]
    #[should_panic(expected = "must be a number from 1")]
    fn a_wrong_pass_is_refused() {
        parse("step:0");
    }
}
