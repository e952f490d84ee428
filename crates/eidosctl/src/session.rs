//! [`Session`]: the client of a service, and where its answers are printed.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::Value;

use crate::cli::Format;
use crate::client::Client;
use crate::output;

/// What a command has that asks a service.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) format: Format,
    pub(crate) out: &'a mut dyn Write,
}

impl Session<'_> {
    /// Prints the service's answer unchanged, or lets `human` show it.
    pub(crate) fn print(
        &mut self,
        answer: &Value,
        human: impl FnOnce(&mut dyn Write, &Value) -> io::Result<()>,
    ) -> Result<()> {
        Ok(output::print(self.out, self.format, answer, human)?)
    }
}
