# The image of the producer: one static binary, the CA certificates, an unprivileged user. Only the classic builder's syntax.
FROM golang:1.26 AS build
WORKDIR /src
# The modules first: they change more rarely than the code. A vendored context builds without a module proxy.
COPY go.mod go.sum ./
RUN test -d vendor || go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o /producer ./producer

FROM scratch
LABEL org.opencontainers.image.title="pstncalls producer" \
      org.opencontainers.image.description="Publishes Microsoft Graph's log of PSTN calls to Kafka, each row exactly once" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /producer /producer
USER 65532:65532
# Inside the container the admin server is asked on the loopback address that ADMIN_ADDR has by default.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/producer", "health"]
ENTRYPOINT ["/producer"]
