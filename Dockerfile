# A static binary and nothing else, run by a user without rights.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /tiwsnap .
RUN mkdir /spool

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /tiwsnap /tiwsnap
COPY --from=build --chown=65532:65532 /spool /spool
USER 65532:65532
ENTRYPOINT ["/tiwsnap"]
CMD ["worker"]
