# The gateway as one static binary in an image without a shell.
#
#   docker build -f compose/gateway.Dockerfile --build-arg VERSION=$(git describe --always) -t aigateway .
#   docker buildx build -f compose/gateway.Dockerfile --platform linux/amd64,linux/arm64 .

# Go compiles for the target on the machine that builds: no emulation.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY gateway ./gateway
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/gateway ./gateway

FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION=dev
LABEL org.opencontainers.image.title="aigateway" \
      org.opencontainers.image.description="API gateway for AI inference services" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /out/gateway /gateway
# By number, so that an orchestrator can see that it is not root.
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 CMD ["/gateway", "-healthcheck"]
ENTRYPOINT ["/gateway"]
