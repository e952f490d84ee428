//! Integration tests of the archive store: the codec against proptest and PostgreSQL, the store against directories
//! and S3.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's")]

mod codec;
mod fake_s3;
mod store;
