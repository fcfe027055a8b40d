# The front door. Every target says what it does: make help
PREFIX ?= /usr/local
SIGNALS ?= 10000000
SEEDS ?= 10000
SECONDS ?= 60
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo build test test-fast test-vm test-interop fuzz soak test-sim embedded gate bench lint docs install \
	uninstall c-library deb clean packages bench-packages

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS=$$'\t' read -r t d; do printf '  make %-10s %s\n' "$$t" "$$d"; done

demo: packages ## the main job: loopback of the software device, then latency, then a real guest
	@Scripts/demo.sh

build: packages ## the command, optimised
	swift build -c release --product irqmux

test: packages ## everything; closes on "N passed, N failed, N skipped"
	@Scripts/test.sh all

test-fast: packages ## unit tests only: no house rules, Embedded build or hot-path gate
	@Scripts/test.sh fast

test-vm: packages ## REQUESTS= SEED=: real VFIO, mdev, SR-IOV and nested KVM, in an emulated machine
	@REQUESTS="$(REQUESTS)" SEED="$(SEED)" Scripts/test-vm.sh

fuzz: packages ## SECONDS=: hostile bytes for vfio-user's decoders, server and client; grows the corpus
	@Scripts/fuzz.sh $(SECONDS) keep

test-interop: packages ## KERNEL=: the Exerciser over vfio-user in QEMU, and irqmux driving it inside
	@KERNEL="$(KERNEL)" Scripts/test-interop.sh

soak: packages ## SIGNALS= SEED=: that many signals under random switches; the last line is the ledger
	@Scripts/soak.sh $(SIGNALS) $(SEED)

test-sim: packages ## SEEDS= SEED=: so many simulated histories, or the one of SEED
	@Scripts/sim.sh $(if $(SEED),1 $(SEED),$(SEEDS))

embedded: packages ## the Embedded build, linked into a C program that runs
	@Scripts/embedded.sh

gate: packages ## the hot-path gate: no allocation, retain or lock in the hot symbols
	@Scripts/hot-path-gate.sh

bench: packages bench-packages ## ours against C, libuv, libevent, libdispatch; then vfio-user, both ends
	@Scripts/bench.sh

lint: ## format and style
	@Scripts/lint.sh

docs: packages ## manual and completions in docs, the Swift API's reference in .build/docs
	@Scripts/command-docs.sh
	@Scripts/docs.sh

c-library: packages ## libirqmux.a and libirqmux.so, for programs in C, Rust and the like, into .build-c
	@Scripts/c-library.sh

install: packages ## command, C library, manual pages and completions, into PREFIX (default /usr/local)
	@Scripts/install.sh "$(PREFIX)"

uninstall: ## takes away what install has put into PREFIX
	@Scripts/install.sh --uninstall "$(PREFIX)"

deb: packages ## a Debian package of the same files, into .build-c
	@Scripts/deb.sh

clean: ## what was built
	rm -rf .build .build-embedded .build-c Benchmarks/.build

packages:
	@Scripts/ensure-packages.sh liburing-dev pkg-config binutils

bench-packages:
	@Scripts/ensure-packages.sh libuv1-dev libevent-dev
