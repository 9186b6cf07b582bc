# The agent's image: one static program, no shell, no other file; UID 1000, nothing to write to.
#
#   docker build -t pipeops-agent:0.1.0 --build-arg COMMIT="$(git rev-parse --short HEAD)" .
#
# for amd64 and arm64 alike (`docker buildx build --platform linux/amd64,linux/arm64`, each on a
# machine of its kind or by emulation). With a static program that is already there, nothing is
# compiled and no other image is fetched; tests/cluster/agent_image.sh makes the test's so:
#
#   RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile dist --no-default-features \
#     --bin pipeops-agent --target "$(rustc -vV | sed -n 's/^host: //p')"
#   buildah bud --target prebuilt -f Dockerfile -t pipeops-agent:0.1.0 FOLDER-OF-THE-PROGRAM

# What every image has, however the program came about.
FROM scratch AS base
LABEL org.opencontainers.image.title="pipeops-agent" \
      org.opencontainers.image.description="Connects a Kubernetes cluster that nobody can dial into to a control plane" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number, so that runAsNonRoot can tell.
USER 1000:1000
EXPOSE 8080
ENTRYPOINT ["/pipeops-agent"]

FROM base AS prebuilt
COPY pipeops-agent /pipeops-agent

# The toolchain of rust-toolchain.toml, which tests/it/deploy.rs compares.
FROM docker.io/library/rust:1.95.0-bookworm AS build
ARG COMMIT=""
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# Glibc, linked into the program: it resolves names by files and DNS without a file of its own.
# Without a target, build scripts would be linked alike, and procedural macros cannot be.
RUN host="$(rustc -vV | sed -n 's/^host: //p')" && \
    RUSTFLAGS="-C target-feature=+crt-static" PIPEOPS_COMMIT="$COMMIT" \
    cargo build --locked --profile dist --no-default-features --bin pipeops-agent --target "$host" && \
    cp "target/$host/dist/pipeops-agent" /pipeops-agent

FROM base
COPY --from=build /pipeops-agent /pipeops-agent
