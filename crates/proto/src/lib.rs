//! The gRPC contract, generated from `/proto` and committed, so that no build needs `protoc`.
//!
//! After a change of a `.proto` file: `UPDATE=1 cargo test -p eidos-proto`. Without `UPDATE` the same test fails when
//! the committed files differ from what the sources generate.

/// Messages shared by every Eidos service.
pub mod common {
    /// `eidos.common.v1`.
    #[expect(missing_docs, reason = "generated code documents what the .proto documents")]
    pub mod v1 {
        include!("generated/eidos.common.v1.rs");
    }
}

/// The scheduled jobs.
pub mod jobs {
    /// `eidos.jobs.v1`.
    #[expect(
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        missing_docs,
        reason = "generated code documents what the .proto documents and follows tonic's style"
    )]
    pub mod v1 {
        include!("generated/eidos.jobs.v1.rs");
    }
}

/// What is asked of the matching engine.
pub mod matching {
    /// `eidos.matching.v1`.
    #[expect(
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        missing_docs,
        reason = "generated code documents what the .proto documents and follows tonic's style"
    )]
    pub mod v1 {
        include!("generated/eidos.matching.v1.rs");
    }
}

/// The encoded `FileDescriptorSet` of every package: what gRPC reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptors.bin");
