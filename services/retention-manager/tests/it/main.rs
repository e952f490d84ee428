//! retention-manager against real servers.
