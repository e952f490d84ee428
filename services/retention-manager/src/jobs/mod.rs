//! The jobs of this service.
