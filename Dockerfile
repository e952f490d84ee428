# syntax=docker/dockerfile:1.7
# One file for every program:  docker build --build-arg SERVICE=recon-svc -t eidos/recon-svc:1.2.3 .
# SERVICE is the name of a binary of the workspace: recon-svc, retention-manager, archiver, order-expirer, aggregator, health-probe, eidosctl, eidos-suite, devnet.

FROM rust:1.95-bookworm AS toolchain
# librdkafka is compiled from source: it wants cmake and a C++ compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ \
    && rm -rf /var/lib/apt/lists/*
# The toolchain file would make rustup fetch components that only developers need.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN cargo install --locked cargo-chef
WORKDIR /src

# The list of dependencies, apart from our own code: the layer below changes with Cargo.lock only.
FROM toolchain AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM toolchain AS build
ARG SERVICE
COPY --from=plan /src/recipe.json recipe.json
RUN test -n "$SERVICE" || { echo "build with --build-arg SERVICE=<binary>" >&2; exit 1; }
RUN cargo chef cook --locked --release --bin "$SERVICE" --recipe-path recipe.json
COPY . .
RUN cargo build --locked --release --bin "$SERVICE" \
    && install -D --strip "target/release/$SERVICE" /out/program \
    && /out/program --help > /dev/null \
    && ln -s program "/out/$SERVICE"

# glibc, libgcc and certificates; no shell, no package manager. User 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG SERVICE
LABEL org.opencontainers.image.title="$SERVICE" \
      org.opencontainers.image.licenses="Apache-2.0"
# The entry point has one name for all; people who run a command in the container use that of the documentation.
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
EXPOSE 8080 50056
ENTRYPOINT ["/usr/local/bin/program"]
