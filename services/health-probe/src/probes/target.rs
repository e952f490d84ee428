//! [`Target`]: what is probed, and what is expected of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use eidos_bus::Topic;
use secrecy::SecretString;

use super::trust::Authority;
use crate::domain::address::Address;
use crate::domain::postgres::Role;

/// What is probed.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in metrics, alerts and reports.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// Bearer token of a request by HTTP or gRPC; `None`: none is sent.
    pub token: Option<SecretString>,
    /// Whom its certificate is checked against; `None`: the authorities of this machine.
    pub authority: Option<Authority>,
    /// The name in its certificate; `None`: the host of the address.
    pub server_name: Option<String>,
    /// The file of the certificate that it should present; `None`: that is not compared.
    pub certificate: Option<PathBuf>,
    /// What a database server should be; `None`: either.
    pub role: Option<Role>,
    /// The topics of each consumer group whose lag is measured.
    pub groups: BTreeMap<String, Vec<Topic>>,
    /// The period of each job that is expected.
    pub periods: BTreeMap<String, Duration>,
    /// Targets that it cannot work without: while one of them fails, its own alert does not open.
    pub depends_on: Vec<String>,
}

impl Target {
    /// A target of which nothing else is said.
    #[must_use]
    pub const fn new(name: String, address: Address) -> Self {
        Self {
            name,
            address,
            token: None,
            authority: None,
            server_name: None,
            certificate: None,
            role: None,
            groups: BTreeMap::new(),
            periods: BTreeMap::new(),
            depends_on: Vec::new(),
        }
    }
}
