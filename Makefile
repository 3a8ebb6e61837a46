# Everything is done by gate itself or by go; this file only names it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
GATE := bin/gate
export CGO_ENABLED ?= 0

.PHONY: help
help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort | column -t -s "$$(printf '\t')"

.PHONY: build
build: ## Build gate into bin/
	@command -v go >/dev/null || { echo 'make: Go is not installed; install Go 1.26 or newer and put it on PATH' >&2; exit 1; }
	@command -v git >/dev/null || { echo 'make: Git is not installed; install it (Debian: apt-get install git)' >&2; exit 1; }
	go build -trimpath -ldflags '-s -w' -o $(GATE) ./pipeline/cmd/gate

.PHONY: run
run: build ## Take the commit that is checked out to production on this machine
	$(GATE) run --through production

.PHONY: down
down: build ## Stop what make run has left running; data and ledger stay
	$(GATE) down production
	$(GATE) down staging

.PHONY: test
test: build ## Run every check of the code and every test but the drills
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'make: not gofmt-ed:' $$(gofmt -l $$(git ls-files '*.go')) >&2; exit 1; }
	go vet ./...
	@# What measures under load comes last and alone: other tests would disturb it.
	bin=$$($(GATE) doctor --postgres) && export GATE_POSTGRES_BIN=$$bin && \
	go -C pipeline/dagger vet ./... && go -C pipeline/dagger test ./... && \
	go test -timeout 20m $$(go list ./... | grep -v '/pipeline/cmd/gate$$') && \
	go test -timeout 40m ./pipeline/cmd/gate

.PHONY: drills
drills: build simulation ## Rehearse with GitHub's workflows, several machines and hostile changes (many minutes; CI does)
	bin=$$($(GATE) doctor --postgres) && export GATE_POSTGRES_BIN=$$bin && \
	drills=$$(awk '/^func Test/ {t = $$2; sub(/\(.*/, "", t)} /^\t+drill\(t\)/ {print t}' pipeline/cmd/gate/*_test.go | sort -u | paste -sd '|') && \
	GATE_DRILLS=1 go test -timeout 55m -run "^($$drills)\$$" ./pipeline/cmd/gate

.PHONY: simulation
simulation: ## Take promotions through 10,000 seeds of what can go wrong, and two promoters through 50 races (a minute; make test tries some)
	GATE_SEEDS=10000 GATE_DRILLS=1 go test -count=1 -timeout 20m -run 'TestSimulation$$|TestTwoPromotersOneRemote$$' ./pipeline/promotion

.PHONY: test-short
test-short: ## Run the tests without the slow drills
	go test -short ./...

.PHONY: race
race: ## Run the short tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -short ./...

.PHONY: bench
bench: build ## Measure the balancer against nginx and HAProxy and across 100,000 requests, load against vegeta, a restore against its bare commands, canaries against others' rules and on a real service, decisions, the ledger
	@for p in nginx haproxy; do command -v $$p >/dev/null || PATH=$$PATH:/usr/sbin command -v $$p >/dev/null || echo "make bench: $$p is missing, so nothing is compared with it (Debian: apt-get install nginx-light haproxy)" >&2; done
	PATH=$$PATH:/usr/sbin GATE_BENCH=1 go test -count=1 -run BalancersSideBySide -v ./pipeline/target/local/balancer
	bin=$$($(GATE) doctor --postgres) && GATE_BENCH=1 GATE_POSTGRES_BIN=$$bin go test -count=1 -timeout 20m -run RestoreBesideBareCommands -v ./pipeline/target/local/backup
	bin=$$($(GATE) doctor --postgres) && GATE_BENCH=1 GATE_POSTGRES_BIN=$$bin go test -count=1 -timeout 20m -run NobodyNotices -v ./pipeline/target/local
	GATE_BENCH=1 go test -count=1 -run 'TestBenchStalls|IsSeldomWrong' -v ./checks
	GATE_BENCH=1 go test -count=1 -run BenchCanaries -v ./pipeline/promotion/analysis
	bin=$$($(GATE) doctor --postgres) && GATE_BENCH=1 GATE_POSTGRES_BIN=$$bin go test -count=1 -timeout 90m -run CanariesJudged -v ./pipeline/cmd/gate
	go test -run '^$$' -bench Decision ./policies
	go test -run '^$$' -bench 'Append|Verify' -benchtime 20x ./pipeline/ledger

.PHONY: lint
lint: ## Run golangci-lint, pinned in tools/go.mod
	go -C tools build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run ./...

.PHONY: clean
clean: ## Remove what was built here; state stays where gate keeps it
	rm -rf bin
