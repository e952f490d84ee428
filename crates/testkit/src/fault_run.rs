//! What every fault run and benchmark has: its options, its verdicts, its report, its result file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

/// Faults dealt out, by name.
pub type Tally = BTreeMap<&'static str, u32>;

/// `--rounds N --seed S` of a fault run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultRunOptions {
    /// How many faults are dealt out.
    pub rounds: u32,
    /// Repeats a run.
    pub seed: u64,
}

impl FaultRunOptions {
    /// Reads the program's arguments; what is not given is `rounds`, and a random seed.
    ///
    /// # Errors
    /// Names the argument that is not understood.
    pub fn from_args(rounds: u32, random_seed: u64) -> Result<Self, String> {
        // Cargo adds --bench to whatever it runs as a benchmark.
        let args = std::env::args().skip(1).filter(|arg| arg != "--bench");
        Self::from_list(args, rounds, random_seed)
    }

    /// As [`Self::from_args`], of arguments from which the run has taken its own.
    ///
    /// # Errors
    /// Names the argument that is not understood.
    pub fn from_list(
        args: impl IntoIterator<Item = String>,
        rounds: u32,
        random_seed: u64,
    ) -> Result<Self, String> {
        let mut options = Self {
            rounds,
            seed: random_seed,
        };
        let mut args = args.into_iter();
        while let Some(flag) = args.next() {
            let text = args.next().ok_or_else(|| format!("{flag} needs a number"))?;
            let number: u64 = text
                .parse()
                .map_err(|_error| format!("{flag} needs a number, not '{text}'"))?;
            match flag.as_str() {
                "--rounds" => {
                    options.rounds =
                        u32::try_from(number).map_err(|_error| format!("{flag} {number} is too many"))?;
                }
                "--seed" => options.seed = number,
                _ => {
                    return Err(format!(
                        "unknown option {flag}; there are --rounds N and --seed S"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// One invariant and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The invariant, as a sentence.
    pub invariant: String,
    /// How many things were looked at.
    pub checked: i64,
    /// How many of them break it.
    pub violations: i64,
    /// One of those.
    pub example: Option<String>,
}

impl Verdict {
    /// True without violations, provided there was something to check: an empty run proves nothing.
    #[must_use]
    pub const fn held(&self) -> bool {
        self.violations == 0 && self.checked > 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.held() { "held" } else { "BROKEN" };
        write!(f, "{word:<7} {:<66} {:>8} checked", self.invariant, self.checked)?;
        if self.violations > 0 {
            write!(f, ", {} violations", self.violations)?;
        }
        self.example
            .as_ref()
            .map_or(Ok(()), |example| write!(f, ", such as {example}"))
    }
}

/// Prints faults and verdicts, writes `target/fault-run/<name>.json`, and says whether everything held.
#[must_use]
#[expect(clippy::print_stdout, reason = "a harness: its output is its purpose")]
pub fn report_fault_run(name: &str, options: FaultRunOptions, tally: &Tally, verdicts: &[Verdict]) -> bool {
    println!("\nfaults");
    for (fault, count) in tally {
        println!("  {fault:<36} {count:>5}");
    }
    println!("\ninvariants");
    for verdict in verdicts {
        println!("  {verdict}");
    }
    let held = verdicts.iter().all(Verdict::held);
    println!(
        "\n{}",
        if held {
            "every invariant held"
        } else {
            "AN INVARIANT DID NOT HOLD"
        }
    );
    let document = json!({
        "seed": options.seed, "rounds": options.rounds, "faults": tally, "invariants": verdicts, "held": held,
    });
    println!(
        "written to {}",
        write_result("fault-run", name, &document).display()
    );
    held
}

/// Writes `target/<folder>/<name>.json` and says where.
#[must_use]
pub fn write_result(folder: &str, name: &str, document: &Value) -> PathBuf {
    let root = eidos_sandbox::workspace_root().unwrap_or_else(|| panic!("not inside the workspace"));
    let dir = root.join("target").join(folder);
    let file = dir.join(format!("{name}.json"));
    let written =
        std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&file, format!("{document:#}\n")));
    written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    file
}
