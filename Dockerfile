# The image of the producer: one static binary, the CA certificates, an unprivileged user; it writes nothing. Only the classic builder's syntax.
#   docker build -t pstncalls --build-arg VERSION="$(git describe --tags --always --dirty)" .
FROM golang:1.26 AS build
WORKDIR /src
# The modules first: they change more rarely than the code. A vendored context (go mod vendor) builds without a module proxy.
COPY go.mod go.sum vendo[r]/modules.txt ./
RUN test -e modules.txt || go mod download
COPY . .
# The commit is read from .git, where there is one: of that, .dockerignore lets only the references in, with which Go cannot stamp it.
ARG VERSION=
ARG REVISION=
RUN head=$(cat .git/HEAD 2>/dev/null || true) && ref=${head#ref: } && \
    revision=${REVISION:-$(cat ".git/$ref" 2>/dev/null || sed -n "s,^\([0-9a-f]*\) $ref\$,\1,p" .git/packed-refs 2>/dev/null || echo "$head")} && \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=$VERSION -X main.revision=$revision" -o /producer ./producer

FROM scratch
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="pstncalls producer" \
      org.opencontainers.image.description="Publishes Microsoft Graph's log of PSTN calls to Kafka, each row exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /producer /producer
USER 65532:65532
# Where a published port reaches it; the health check asks on the loopback address.
ENV ADMIN_ADDR=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/producer", "health"]
ENTRYPOINT ["/producer"]
