# notilog in a small image: built on Debian 12, run on its slim base by a user without rights.
FROM rust:1.95.0-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake libssl-dev make pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Guided by a profile, as dev/release says. Crates and compiled dependencies stay in BuildKit's cache, so a change of ours
# rebuilds only ours.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    binary=$(dev/release) \
 && install -D -m 0755 "$binary" /out/bin/notilog

FROM debian:bookworm-slim
# tzdata: quiet hours are kept in the recipient's zone.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 tzdata zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin notilog
COPY --from=build /out/bin/notilog /usr/local/bin/notilog
COPY schemas /usr/share/notilog/schemas
COPY topics /usr/share/notilog/topics
COPY policies /usr/share/notilog/policies
COPY templates /usr/share/notilog/templates
WORKDIR /usr/share/notilog
USER 10001:10001
# Health and metrics must be reachable from outside the container.
ENV NOTILOG__TELEMETRY__LISTEN=0.0.0.0:9464
EXPOSE 9464
# Ready means: tables restored, partitions assigned, providers reachable.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ code _ <&3 && [[ $code == 200 ]]"]
ENTRYPOINT ["notilog"]
CMD ["up"]
