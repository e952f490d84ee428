//! How wide tables may be: the terminal that reads them, 80 to 200 columns; without a terminal as wide as they like.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use comfy_table::{ContentArrangement, Table};

/// Narrower terminals are treated as this wide.
const NARROWEST: u16 = 80;
/// Wider lines are hard to read.
const WIDEST: u16 = 200;

/// What this process decided at its start.
static WIDTH: OnceLock<Option<u16>> = OnceLock::new();

/// Reports of this process are stored and read elsewhere: they fit the narrowest terminal.
pub fn render_for_any() {
    let _decided_before = WIDTH.set(Some(NARROWEST));
}

/// Lets a table break the text of its cells where it is wider than the reader's terminal.
pub fn fit(table: &mut Table) -> &mut Table {
    match WIDTH.get_or_init(of_output) {
        Some(width) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(*width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    }
}

/// The width of standard output: `COLUMNS`, else that of the terminal; `None` if it is neither.
fn of_output() -> Option<u16> {
    let told = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let width = told.or_else(|| {
        let (width, _height) = terminal_size::terminal_size_of(std::io::stdout())?;
        Some(width.0)
    });
    width
        .filter(|_| told.is_some() || std::io::stdout().is_terminal())
        .map(|width| width.clamp(NARROWEST, WIDEST))
}
