# make help lists the targets. Go, git and make are all that build and test need;
# tests that want more skip with a line that says so.

SHELL      = /bin/sh
GO        ?= go
FUZZTIME  ?= 1m
SOAKTIME  ?= 30m
GORELEASER = .bin/goreleaser-v2.15.1
TOOL       = $(GO) tool -modfile=internal/tools/go.mod
MODULES    = . internal/interop internal/bench internal/tools

# The race detector needs a C compiler; without one the tests run without it.
CC_FOUND := $(shell command -v $$($(GO) env CC | cut -d' ' -f1) 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race)

.PHONY: help build demo test faults race-users soak lint generate licences fuzz vuln bench bench-quick bench-program cross size verify-modules tidy-check release-check release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# Calls in our own code are not inlined: see docs/decisions/0011-size.md.
SMALL = -gcflags=github.com/stet-oci/stet/...=-l

# -buildvcs=auto: `stet version` tells tag and commit, whatever GOFLAGS says.
build: ## build bin/stet, static and stripped
	CGO_ENABLED=0 $(GO) build -buildvcs=auto -trimpath $(SMALL) -ldflags '-s -w' -o bin/stet ./cmd/stet

demo: build ## one artifact: files, two registries, a layout, files; one digest
	@PATH="$(CURDIR)/bin:$$PATH" sh internal/demo/demo.sh

# The race detector multiplies memory: what the cases may take is measured without it.
# The cases of bad registries, networks and files bound the memory of the program,
# which the race detector multiplies. They run without it; make race-users has those
# of files with it.
CASES = ^Test(Case|Beyond)

test: ## run all tests
	@$(if $(RACE),:,echo 'make test: no C compiler found, so the race detector is off' >&2)
	$(GO) test $(RACE) $(if $(RACE),-skip '$(CASES)') -timeout 30m ./...
	$(if $(RACE),$(GO) test -run '$(CASES)' ./cmd/stet)
	cd internal/interop && $(GO) test $(RACE) -timeout 40m ./...
	cd internal/bench && $(GO) test $(RACE) ./...

faults: ## every fault at every stage of a transfer, kill -9, memory; wants an idle machine
	cd internal/interop && STET_FAULTS=1 $(GO) test -timeout 60m -v -run 'TestFaultMatrix|TestKilled|TestMemory' ./...

race-users: ## the file tests and the fault matrix under the race detector, three times, as root and as an ordinary user
	@GO='$(GO)' sh internal/interop/race-users.sh

# SEED repeats the choices of a run; it is printed.
soak: ## push, pull, cp and attach in eight processes with random faults for SOAKTIME (30m)
	cd internal/interop && STET_SOAK=$(SOAKTIME) STET_SOAK_SEED=$(SEED) STET_REQUIRE_REGISTRIES=1 $(GO) test -count=1 -timeout 3h -v -run '^TestSoak$$' .

lint: ## gofumpt, go vet, staticcheck
	@out=$$($(TOOL) gofumpt -l .) || exit 1; \
	if [ -n "$$out" ]; then printf 'not formatted; run `%s gofumpt -w .`:\n%s\n' '$(TOOL)' "$$out" >&2; exit 1; fi
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	@set -e; for dir in internal/interop internal/bench; do \
		(cd $$dir && $(GO) vet ./... && $(GO) tool -modfile=../tools/go.mod staticcheck ./...); \
	done

generate: ## write docs/commands, docs/man and completions anew
	$(GO) test ./internal/cli -count=1 -run TestGenerated -update

licences: ## write docs/licences.md anew
	$(GO) test ./internal/laws -count=1 -run TestLicences -update

# Many targets write files, which a memory file system does a hundred times faster.
# Without -fuzzminimizetime most of a short run goes into making one input shorter.
# On a busy machine go test may take the end of the time for a failure, without an
# input that fails: then it runs once more.
fuzz: ## run each fuzz target for FUZZTIME (1m)
	@set -e; if [ -z "$$TMPDIR" ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi; \
	for dir in $$(grep -rl '^func Fuzz' --include='*_test.go' internal pkg | xargs -n1 dirname | sort -u); do \
		for target in $$($(GO) test -list '^Fuzz' ./$$dir | grep '^Fuzz'); do \
			echo "$$dir $$target"; \
			for try in 1 2; do \
				if out=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./$$dir 2>&1); then \
					printf '%s\n' "$$out" | tail -n 3; \
					break; \
				fi; \
				printf '%s\n' "$$out"; \
				case "$$try $$out" in \
				2*|*'Failing input'*|*'seed corpus entry'*) exit 1 ;; \
				*'context deadline exceeded'*) ;; \
				*) exit 1 ;; \
				esac; \
			done; \
		done; \
	done

# govulncheck ends with 3 where it found something, with 1 where it could not look.
# It needs the network, and what it finds changes from day to day: not in .ci/run.
vuln: ## look for known vulnerabilities in what is linked; needs vuln.go.dev (or GOVULNDB)
	@code=0; out=$$($(TOOL) govulncheck -show verbose ./cmd/stet 2>&1) || code=$$?; printf '%s\n' "$$out"; \
	case $$code in \
	0) echo 'make vuln: nothing known' ;; \
	3) echo 'make vuln: there are known vulnerabilities' >&2; exit 3 ;; \
	*) case $$out in \
		*'fetching vulnerabilities'*) echo "make vuln: NOT CHECKED: the database of vulnerabilities ($${GOVULNDB:-https://vuln.go.dev}) cannot be reached" >&2; exit 75 ;; \
		*) echo 'make vuln: NOT CHECKED: govulncheck failed' >&2; exit 1 ;; \
		esac ;; \
	esac

# With ROWS or CURVES it measures only those, and leaves docs/performance.md alone.
# RUNS is how often, DIR where registries and files lie, TRACE where request logs go.
BENCHFLAGS  = $(if $(RUNS),-runs $(RUNS)) $(if $(DIR),-dir '$(abspath $(DIR))') $(if $(TRACE),-trace '$(abspath $(TRACE))') $(if $(DATE),-date $(DATE))
BENCHPICK   = $(if $(ROWS)$(CURVES),-rows '$(or $(ROWS),none)' -curves '$(or $(CURVES),none)')
BENCHREPORT = -markdown ../../docs/performance.md -svg ../../docs/performance.svg

bench: bench-program ## measure beside other clients, half an hour; write docs/performance.md (ROWS=push,pull picks)
	cd internal/bench && ../../bin/bench run $(BENCHFLAGS) $(BENCHPICK) -json ../../bin/bench.json $(if $(BENCHPICK),,$(BENCHREPORT))

bench-quick: bench-program ## the same, less of it, in under two minutes; write nothing but bin/bench-quick.json
	cd internal/bench && ../../bin/bench run -quick $(BENCHFLAGS) $(BENCHPICK) -json ../../bin/bench-quick.json

bench-program:
	cd internal/bench && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../../bin/bench .

cross: ## compile for every platform that is released
	@set -e; for os in linux darwin windows; do for arch in amd64 arm64; do \
		echo "$$os/$$arch"; CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -o /dev/null ./cmd/stet; \
	done; done

size: build ## print the size of the stripped binary in bytes
	@wc -c < bin/stet

verify-modules: ## fail when a module on this machine is not what go.sum names
	@set -e; for dir in $(MODULES); do (cd $$dir && $(GO) mod verify); done

tidy-check: ## fail when a go.mod or go.sum is not tidy
	@set -e; for dir in $(MODULES); do (cd $$dir && $(GO) mod tidy -diff); done

release-check: $(GORELEASER) ## check .goreleaser.yaml and build a snapshot into dist/
	$(GORELEASER) check
	$(GORELEASER) release --snapshot --clean --skip=publish

release: $(GORELEASER) ## publish the release of the tag at HEAD; runs in the release workflow
	$(GORELEASER) release --clean

# Its dependencies are many and no business of any go.mod here. A newer one
# needs modules that are not public.
$(GORELEASER):
	GOBIN="$(CURDIR)/.bin" $(GO) install github.com/goreleaser/goreleaser/v2@v2.15.1
	mv .bin/goreleaser $@

clean: ## remove what was built
	rm -rf bin dist .bin
