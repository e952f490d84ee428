//! Pure decisions: what becomes of an order that was asked for ([`life`]), and when it is asked again ([`backoff`]).

pub mod backoff;
pub mod life;
