FROM golang:1.26 AS build
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -tags nomsgpack -trimpath -ldflags '-s -w' -o /slipway ./cmd/slipway

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /slipway /slipway
ENTRYPOINT ["/slipway"]
CMD ["serve"]
