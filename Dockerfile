# An image with only a static binary, which runs as an unprivileged user. The root file
# system may be read-only: the binary writes only to /spool, /login and /tmp.
#
#   docker build -t tiwsnap --build-arg COMMIT="$(git rev-parse HEAD)" --build-arg DATE="$(git log -1 --format=%cI)" .
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# For "tiwsnap version". If they are empty, it uses version/release.txt.
ARG VERSION COMMIT DATE
RUN CGO_ENABLED=0 go build -trimpath -o /tiwsnap -ldflags="-s -w \
    -X tiwsnap/version.version=${VERSION} \
    -X tiwsnap/version.commit=${COMMIT} \
    -X tiwsnap/version.date=${DATE}" .
RUN mkdir -m 700 /spool /login

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /tiwsnap /tiwsnap
COPY --from=build --chown=65532:65532 /spool /spool
COPY --from=build --chown=65532:65532 /login /login
# The user has no home folder, the default place.
ENV TIWSNAP_WORKER_SPOOL=/spool
USER 65532:65532
ENTRYPOINT ["/tiwsnap"]
CMD ["worker"]
