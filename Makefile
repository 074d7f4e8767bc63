# make            builds bin/weir and bin/weir-shim
# make beam       builds bin/weir-beam, for stages that say `engine: beam` (about 100 MB; minutes where nothing is cached)
# make run        the demo: everything that is missing, the build, the stack, its pipeline
# make test       all that can be proved in 20 minutes; what CI runs
# make test-short the inner loop, under 2 minutes, no JVM
# make verify     the long proof; each verify-* is a target of its own
# make bench      Weir beside its peers on this machine: 5 rounds, some minutes; on a quiet machine, see benchmarks/METHODOLOGY.md
# make lint clean
#
# Needed: git, make and Go 1.21 or later, which fetches the version that go.mod names. The rest scripts/setup sees to.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := build
.PHONY: build beam generate run setup test test-short verify verify-race verify-demo verify-data verify-faults verify-start verify-beam verify-scale verify-autoscale verify-kubernetes verify-nats check vet fmt archtest darwin lint bench bench-smoke microbench clean

# A Go that is installed but not on the path is found; a distribution's Go may be set to never fetch a newer one.
GO ?= $(firstword $(shell command -v go) $(wildcard /usr/local/go/bin/go /usr/lib/go-*/bin/go /snap/bin/go) go)
GOTOOLCHAIN ?= auto
export GOTOOLCHAIN

# The commit is stamped into the binaries where git can say it (not in a tarball, nor in a folder of another owner).
STAMP := $(if $(shell git rev-parse --verify -q HEAD 2>/dev/null),auto,false)
LIBRARY := benchmarks charts connectors internal operators pipelines resources scripts stacks
LINTER := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# The binaries hold no C: they run on any Linux of their architecture.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(STAMP) -o bin/ ./cmd/weir ./cmd/weir-shim

# The only binary that links Beam stands apart: nobody waits for it who has no stage on it.
beam:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(STAMP) -o bin/ ./cmd/weir-beam

run: setup build
	bin/weir up stacks/catalog/flights/stack.yaml

# What is made from declarations; tests fail where it is stale.
generate:
	$(GO) test ./charts -run TestTheChartHoldsTheDefinition -rewrite

.PHONY: goldens
# The chart as Helm renders it; needs helm on the PATH (scripts/kubernetes-testbed builds one).
goldens:
	$(GO) test ./charts -run TestTheGoldensAreOfThisChart -rewrite

setup:
	@scripts/setup

# One package at a time: real services and tests with deadlines do not share two cores well.
test: setup check
	$(GO) test -count=1 -p 1 -timeout 18m ./...
	@$(MAKE) bench-smoke

test-short: fmt vet
	$(GO) test -short -timeout 2m ./...

check: fmt vet archtest darwin

vet:
	$(GO) vet ./...

# The gofmt of the Go that builds, not the one on the path.
fmt:
	@wrong=$$("$$($(GO) env GOROOT)/bin/gofmt" -l cmd $(LIBRARY)) || exit 1; \
	if [ -n "$$wrong" ]; then echo "not formatted (type: gofmt -w FILE):"; echo "$$wrong"; exit 1; fi

# Who may import whom, first: the cheapest test with the widest reach.
archtest:
	$(GO) test ./internal/archtest

# `weir run`, `test`, `validate` and `plan` work on macOS; process agents are Linux's.
darwin:
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/weir
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./internal/cli

verify: verify-data verify-race verify-demo verify-faults verify-start verify-beam verify-scale verify-autoscale verify-kubernetes verify-nats

# The bundled file is what its script cuts (needs npm and python3).
verify-data:
	scripts/cut-flights --check

# Everything short under the race detector, three times over (needs a C compiler).
verify-race:
	$(GO) test -race -short -count=3 -timeout 40m ./...

# The demo and its kills, five times over.
verify-demo: setup
	$(GO) test -count=5 -timeout 60m -v -run TestMainJob ./internal/mainjob

# Random kills of one to three processes a run, shims, supervisor and node included.
verify-faults: setup
	WEIR_VERIFY=20 $(GO) test -count=1 -timeout 60m -v -run TestRandomKills ./internal/mainjob

# The demo with its batch stages on Beam, and kills of weir-beam and of its worker.
verify-beam: setup
	WEIR_VERIFY=1 $(GO) test -count=1 -timeout 20m -v -run TestBeam ./internal/mainjob

# How long the stack takes to be ready, against the same Cassandra alone.
verify-start: setup
	WEIR_VERIFY=3 $(GO) test -count=1 -timeout 20m -v -run TestStart ./internal/mainjob

# Workers follow a load and are not added in front of a saturated Cassandra. It takes a core that nobody else uses.
verify-autoscale: setup
	WEIR_VERIFY=1 $(GO) test -count=1 -timeout 30m -v -run 'TestWorkersFollowTheLoad|TestNoWorkerIsAdded' ./internal/mainjob

# Kubernetes agents, the chart and Stack objects against a real API server, scheduler and etcd with kwok's nodes, built from Go modules the first
# time (10 minutes). The server has the permissions of the chart's ServiceAccount and no others.
verify-kubernetes:
	scripts/kubernetes-testbed run $(GO) test -count=1 -p 1 -timeout 20m -v -run 'TestVerify|TestTheGoldens' ./resources/kubernetes ./stacks ./charts ./internal/cli/clitest

# A NATS on a stack with workers: NATS, worker and server are killed, the sums stay exact; a stream that is deleted is told of.
verify-nats: setup
	WEIR_VERIFY=1 $(GO) test -count=1 -timeout 10m -v -run TestVerifyNats ./internal/mainjob

# Workers 1 -> 3 -> 1 and brokers 1 -> 2 -> 1 in the middle of runs, the server killed at each step boundary: exact, nothing lost.
verify-scale: setup
	WEIR_VERIFY=1 $(GO) test -count=1 -timeout 20m -v -run TestScale ./internal/mainjob
	WEIR_VERIFY=1 $(GO) test -count=1 -timeout 10m -v -run TestRealKafkaGrows ./operators/operatortest

lint:
	@if command -v golangci-lint >/dev/null; then golangci-lint run ./...; else $(GO) run $(LINTER) run ./...; fi

# The report goes to benchmarks/results; the table is printed.
bench: build
	bin/weir bench run -o json >benchmarks/results/latest.json
	bin/weir bench report benchmarks/results/latest.json | tee benchmarks/results/latest.md

# Each workload on each peer once, small: does it work, is the output right. It measures nothing.
bench-smoke: build
	@state=$$(mktemp -d) && bin/weir --state $$state bench run --quick; code=$$?; rm -rf $$state; exit $$code

# The benchmarks of single packages.
microbench:
	$(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./...

# Build products only: state and caches belong to `weir down --purge`.
clean:
	rm -rf bin stacks/catalog/flights/out
