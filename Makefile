# Polder's targets. "make" alone lists them.

GO          ?= go
ARGS        ?=
FUZZTIME    ?= 10s
SEEDS       ?= 10000
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The version of a build: from git where there is a repository that git agrees to read.
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
BUILDVCS := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)
BUILD    := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(BUILDVCS) -ldflags "-X polder.dev/polder/cmd/polder/start.Version=$(VERSION)"

# Packages whose tests need root, cgroups, a container engine or an etcd; "check" leaves them to "test".
HEAVY := /agent/runtime/(docker|process|cgroup)$$|/store/etcd$$|/e2e(/|$$)

.DEFAULT_GOAL := help
.PHONY: help up demo build test check bench sim seeds prove mutants chaos engines fuzz generate clean engine format vet staticcheck ui ui-or-not packages clients kube check-kube bench-kube test-kube conformance-kube swarmkit swarm-compare peers

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: engine build ## a server and three agents on this machine, until Ctrl-C (flags: ARGS="--agents 5")
	@exec e2e/with-engine.sh usual .polder/engine bin/polder up --dir "$(CURDIR)/.polder" $(ARGS)

.PHONY: scale
scale: ui ## what the console costs before 10,000 nodes and 100,000 tasks, in Chromium; a quarter of an hour (flags: ARGS="-minutes 60")
	$(GO) test -tags scale ./e2e/console -run TestScale -v -timeout 3h -args $(ARGS)

demo: engine build ## two teams share this machine: borrow, ask, notice, leave in time
	@dir=$$(mktemp -d /tmp/polder-engine.XXXXXX) && code=0 && \
	{ e2e/with-engine.sh own $$dir bin/polder demo $(ARGS) || code=$$?; } && rm -rf $$dir && exit $$code

build: ui-or-not ## bin/polder, with the console where Node.js is
	@echo "Building bin/polder $(VERSION)"
	@mkdir -p bin
	@$(BUILD) -o bin/ ./cmd/polder

# The console's pages, built from web/ui into the binary. The tests of the console need them, and Chromium.
UI := web/ui/dist/app/index.html

ui: $(UI) ## the console's pages, with Node.js 20 and npm

$(UI): web/ui/node_modules/.package-lock.json $(shell find web/ui/src web/ui/index.html web/ui/*.ts web/ui/*.js -type f)
	@cd web/ui && npx svelte-check --fail-on-warnings --output human-verbose >&2 && npx vite build --logLevel warn

web/ui/node_modules/.package-lock.json: web/ui/package.json web/ui/package-lock.json
	@cd web/ui && npm ci --no-audit --no-fund

ui-or-not:
	@if command -v npm >/dev/null 2>&1; then $(MAKE) --no-print-directory ui; \
	else echo "!! There is no npm: this build has NO CONSOLE. Install Node.js 20 or later and run make again."; fi

test: engine packages ui format vet ## everything: formatting, vet, all tests
	$(GO) test -p 1 ./... # one package at a time: engines make networks, and a browser breaks off what it loads when the networks change

check: format vet staticcheck ## before a commit: formatting, vet, staticcheck, the house rules, quick tests
	$(GO) test $$($(GO) list ./... | grep -vE '$(HEAVY)')

bench: ## what decisions cost: one refereed table (flags: ARGS="-size full -json bench.json")
	$(GO) run ./bench/run $(ARGS)

peers: ## the same tasks placed by Polder's core, YuniKorn's core and swarm mode's scheduler, by turns; minutes (flags: ARGS="-agents 1000 -share 0.9")
	cd bench/peers && $(GO) test -mod=mod -count=1 . && $(GO) run -mod=mod . $(ARGS)

sim: build ## play every simulated scenario and say what it found (flags: ARGS="--seeds 20")
	@failed=; for name in $$(bin/polder sim list -o name); do \
		bin/polder sim run $$name $(ARGS) || failed="$$failed $$name"; echo; \
	done; [ -z "$$failed" ] || { echo "Not as expected:$$failed"; exit 1; }

seeds: ## SEEDS (10000) random clusters in virtual time, invariants after every decision, with progress; half an hour. Failed ones are kept as files
	$(GO) run ./cmd/polder sim random --seeds $(SEEDS) --jobs 2 --keep sim/testdata/random $(ARGS)

prove: ## SEEDS (10000) random days of a cluster against the contract, with progress; some minutes
	$(GO) test ./core/cluster -run '^TestContract$$' -v -timeout 0 -rapid.checks=$(SEEDS) -rapid.seed=$$(date +%s) $(ARGS)

mutants: ## plant every fault of internal/mutants in core and see that a test finds it; some minutes
	$(GO) test ./internal/mutants -run TestMutants -v -count 1 -timeout 0 -args -all $(ARGS)

chaos: ## 1000 notices on real tasks while agents and the server are killed (flags: ARGS="-seed 1"); some ten minutes
	$(GO) run ./e2e/chaos -notices 1000 -work 1m $(ARGS)

clients: engine ## the doors with clients of other people, built from their modules; some ten minutes the first time
	$(GO) test -tags clients -run 'TestCompose|TestBuildx' -timeout 30m ./e2e/docker

# The Kubernetes door is a module of its own: nothing above builds or tests it. Its flags are always the same, so that a build
# finds in the cache what another one left there.
KUBE    := $(shell sed -n 's,.*k8s.io/kubernetes v,v,p' kube/go.mod)
KUBEBUILD := CGO_ENABLED=0 $(GO) build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(KUBE) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(KUBE)))"

kube: ## bin/polder-kube, the Kubernetes door; ten CPU-minutes the first time
	@echo "Building bin/polder-kube with Kubernetes $(KUBE); the first time it takes a while (one dot for every 100 packages)"
	@mkdir -p bin
	@rm -f bin/polder-kube
	@cd kube && $(KUBEBUILD) -v -o ../bin/ ./cmd/polder-kube 2>&1 | awk '/^[a-z]+[a-z0-9.]*[\/a-zA-Z0-9._-]*$$/ { if (++n % 100 == 0) { printf "."; fflush() }; next } { print } END { if (n >= 100) print "" }'
	@test -x bin/polder-kube

check-kube: ## the Kubernetes door's packages, without a kubelet; twelve CPU-minutes the first time
	cd kube && CGO_ENABLED=0 $(GO) build ./... && CGO_ENABLED=0 $(GO) test -vet=off ./... # vet would look at all of Kubernetes; "make test-kube" does

bench-kube: ## kube-scheduler with the pool's plugin beside the stock one, by turns; minutes (flags: ARGS="-nodes 5000 -pods 2000 -rounds 3")
	cd kube && CGO_ENABLED=0 $(GO) test -tags bench -vet=off ./bench -run TestSchedulerCost -v -timeout 3h -args $(ARGS)

test-kube: engine kube ## the Kubernetes door: its packages, and pods on real kubelets; needs root
	@cd kube && CGO_ENABLED=0 $(GO) test -tags e2e -timeout 30m ./...

conformance-kube: engine kube ## Kubernetes' own conformance tests on the Kubernetes door, but for those that kube/e2e/testdata/conformance.txt leaves out; needs root; half an hour (flags: ARGS="-only ConfigMap")
	@cd kube && CGO_ENABLED=0 $(GO) test -tags e2e,conformance -vet=off -timeout 3h -count 1 -v -run TestConformance ./e2e -args $(ARGS)

engines: engine ## what the pages about the Docker door type, word for word; and the door on three engines of their own, which are killed, frozen and cut off
	$(GO) test -tags engines -run 'TestSession|TestThreeEngines' -count 1 -v ./e2e/docker

swarm-compare: engine ## a service of 100 tasks in real swarm mode and through the Docker door, by turns on the same three engines; some minutes (flags: ARGS="-replicas 30")
	$(GO) test -tags engines -run '^$$' -bench Replicas -benchtime 3x -timeout 60m -v ./e2e/docker $(ARGS)

swarmkit: ## decisions about services beside those of swarm mode's own orchestrators; a minute or two
	cd e2e/swarmkit && $(GO) test -mod=mod -count=1 ./...

fuzz: ## every fuzzer for FUZZTIME (10s)
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

generate: ## the code of the messages, with protoc and the plug-ins of go.mod's versions; what follows from the table of metrics
	$(GO) run ./metrics/generate .
	@command -v protoc >/dev/null || { echo "protoc is missing. Install it: apt-get install protobuf-compiler"; exit 1; }
	@mkdir -p bin
	$(GO) build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go
	PATH="$(CURDIR)/bin:$$PATH" $(GO) generate ./api ./door/mesos/wire

clean: ## remove bin and .polder of this checkout
	@for lock in $$(find .polder -name lock -type f 2>/dev/null); do \
		flock -n $$lock true || { echo "Something of .polder still runs: it holds $$lock. Stop it first (Ctrl-C where \"polder up\" runs)."; exit 1; }; \
	done
	rm -rf bin .polder web/ui/dist/app web/ui/node_modules

engine:
	@e2e/packages.sh

packages:
	@e2e/clients.sh

format:
	@files=$$(find . -name '*.go' -not -path './.*' | xargs gofmt -l); \
	[ -z "$$files" ] || { echo "Not formatted; run gofmt -w on:"; echo "$$files"; exit 1; }

vet:
	$(GO) vet ./...

staticcheck:
	$(GO) run $(STATICCHECK) ./...
