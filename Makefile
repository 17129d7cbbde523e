# `make` prints help. `make test` installs what it needs where it can, and says what it could not.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0
BENCHSTAT     := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
TOOLS         := $(CURDIR)/bin
RACE          := $(if $(CI),-race)

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/slipway
	# nomsgpack leaves out a format that gin knows and Slipway doesn't use: 6 MB
	CGO_ENABLED=0 go build -tags nomsgpack -trimpath -ldflags '-s -w' -o bin/slipway ./cmd/slipway

.PHONY: demo
demo: ## Run the demo
	go run ./cmd/slipway demo

.PHONY: test
test: controlplane browser prometheus ## Run all tests (with CI=true: race detector, and nothing may be skipped)
	go test $(RACE) -timeout 40m ./...

.PHONY: quick
quick: ## Run the tests that need nothing heavy
	go test -short ./...

.PHONY: controlplane
controlplane: ## Build the Kubernetes control plane that the tests use (minutes at first, then nothing)
	@go run ./deploy/kube/kubetest/build >/dev/null || { \
	  if [ -n "$${CI:-}" ]; then exit 1; fi; \
	  echo 'make: the control plane could not be built; the tests that need it are skipped' >&2; }

.PHONY: browser
browser: ## Install Chromium for the browser tests, on Debian as root
	@if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	  elif [ -n "$${CI:-}" ]; then echo 'make: chromium is missing' >&2; exit 1; \
	  else echo 'make: chromium is missing; the browser tests are skipped (install your package chromium)' >&2; fi; fi

.PHONY: prometheus
prometheus: ## Install the program prometheus for the test that asks a real one, on Debian as root
	@if ! command -v prometheus >/dev/null; then \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    dir="$$(mktemp -d)"; trap 'rm -rf "$$dir"' EXIT; chmod 755 "$$dir"; \
	    apt-get update -qq && cd "$$dir" && apt-get download -qq -o APT::Sandbox::User=root prometheus >/dev/null; \
	    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/prometheus >/usr/local/bin/prometheus; \
	    chmod 755 /usr/local/bin/prometheus; \
	  elif [ -n "$${CI:-}" ]; then echo 'make: prometheus is missing' >&2; exit 1; \
	  else echo 'make: prometheus is missing; the test that asks a real one is skipped (install your package prometheus)' >&2; fi; fi

.PHONY: check
check: format vet lint generated ## Format, vet, lint, and what is generated is up to date

.PHONY: format
format:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'make: not gofmt-ed:' >&2; gofmt -l $$(git ls-files '*.go') >&2; exit 1; }

.PHONY: vet
vet:
	go vet ./...
	cd deploy/kube/kubetest/controlplane && GOWORK=off CGO_ENABLED=0 go mod tidy -diff

.PHONY: lint
lint: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run ./...

$(TOOLS)/golangci-lint: Makefile
	GOBIN=$(TOOLS) go install $(GOLANGCI_LINT)
	@touch $@

.PHONY: generated
generated:
	go mod tidy -diff
	go run ./cmd/slipway schema | cmp - pipeline/spec/slipway.schema.json

.PHONY: vuln
vuln: ## Look for known vulnerabilities (needs the network)
	go run $(GOVULNCHECK) ./...

.PHONY: bench
bench: ## Run the benchmarks and print medians with benchstat (COUNT=6, minutes)
	@mkdir -p bin
	@uptime
	go test -run '^$$' -bench . -count $(or $(COUNT),6) -timeout 60m ./cmd/internal/app ./store/boltstore | tee bin/bench.txt
	@uptime
	go run $(BENCHSTAT) bin/bench.txt

.PHONY: bench-cluster
bench-cluster: controlplane ## Measure the whole program on the real control plane, with its floor (ROUNDS=9, minutes)
	@uptime
	go test -run '^$$' -bench 'BlueGreen|NextStep|TwoHundred' -benchtime $(or $(ROUNDS),9)x -timeout 60m ./cmd/slipway
	go test -run '^$$' -bench Idle -benchtime 1x -timeout 30m ./cmd/slipway
	@uptime

.PHONY: judge-quality
judge-quality: ## Measure how often the canary judges are wrong, as Markdown tables (REPETITIONS=1000, minutes on two cores)
	@go run ./pipeline/canary/canaryquality -repetitions $(or $(REPETITIONS),1000)

.PHONY: golden
golden: ## Rewrite the golden files; read the diff
	go test ./... -run Golden -update

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin
