# `make` lists the targets. Tests and demo mount things and boot machines: where you are not root they use sudo.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin
# debhelper gives its commands another HOME: name the toolchain's directories.
export CARGO_HOME ?= $(HOME)/.cargo
export RUSTUP_HOME ?= $(HOME)/.rustup

version := $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
# What the package is for: `make deb ARCH=arm64` (or armhf) builds it on this machine. Not taken from the environment, where
# ARCH is somebody else's.
native := $(shell dpkg --print-architecture)
ARCH = $(native)
package = target/deb/burnonce_$(version)_$(ARCH).deb
packaged := $(wildcard README.md CHANGELOG.md Cargo.toml Cargo.lock examples/*.rs) \
            $(shell find src crates debian initramfs man share systemd -type f)

# Everything is compiled as you are; what needs root is run by sudo.
sudo := $(if $(filter 0,$(shell id -u)),,sudo)
as_root = $(if $(sudo),sudo -E)
by_sudo = --config 'target."cfg(unix)".runner=["sudo", "-E", "env", "PATH=$(PATH)"]'
elevated = $(if $(sudo),$(by_sudo))

# Test programs that need root or longer than a moment. All the others are test-fast's.
long := loop packaging arm64 bake
tests := $(basename $(notdir $(wildcard tests/*.rs))) $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs))
fast := $(foreach test,$(filter-out $(long),$(tests)),--test $(test))

# cargo-deny: the one on PATH if it is 0.18 or later, else one made in target/tools.
deny_version := 0.18.3
cargo_deny = $(if $(shell cargo-deny --version 2>/dev/null | grep -E ' (0\.(1[89]|[2-9][0-9])|[1-9])'),cargo-deny,target/tools/bin/cargo-deny)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1 /p' $(MAKEFILE_LIST) | while read -r target text; do \
	    printf '  make %-12s %s\n' "$$target" "$$text"; done

.PHONY: setup
setup: ## install from Debian what building and testing need
	$(sudo) tests/setup.sh

.PHONY: build
build: ## compile target/release/burnonce
	cargo build --release --locked --package burnonce --bin burnonce

.PHONY: deb
deb: $(package) ## make the Debian package target/deb/burnonce.deb; ARCH=arm64: one for that
	@ls -l target/deb/*.deb

# In a copy, for debhelper writes into its source tree. The copy has a target directory of its own: cargo takes two copies
# of one workspace for the same, and would link what it compiled from the other one. The build dependencies are not
# checked: the toolchain need not be Debian's.
target/deb/burnonce_$(version)_$(native).deb: $(packaged)
	rm -rf target/deb/source target/deb/burnonce_*_$(native).deb
	mkdir -p target/deb/source
	tar --create --exclude=./target --exclude=./.git . | tar --extract --directory=target/deb/source
	cd target/deb/source && CARGO_TARGET_DIR=$(CURDIR)/target/deb/cargo \
	    dpkg-buildpackage --no-sign --build=binary --no-check-builddeps
	ln -sf $(notdir $@) target/deb/burnonce.deb

# For another architecture, in a chroot that has no network: the crates are laid beside the copy, and the completions, which
# this machine's own program writes. What was compiled stays for the next time.
target/deb/burnonce_$(version)_%.deb: cross = target/deb/cross-$*
target/deb/burnonce_$(version)_%.deb: $(packaged)
	rm -rf $(cross)/source $(cross)/completions $(cross)/vendor $(cross)/*.deb target/deb/burnonce_*_$*.deb
	mkdir -p $(cross)/source $(cross)/completions
	tar --create --exclude=./target --exclude=./.git . | tar --extract --directory=$(cross)/source
	cargo vendor --quiet --locked --versioned-dirs $(cross)/vendor >/dev/null
	cargo run --quiet --locked --package burnonce --example generate -- $(cross)/completions
	$(as_root) debian/cross.sh $* $(cross)
	mv $(cross)/$(notdir $@) $@

# What tests/arm64.rs needs. Either is one process for most of its time.
.PHONY: deb-arm64 root-arm64
deb-arm64:
	$(MAKE) deb ARCH=arm64
root-arm64:
	$(as_root) tests/arm64.sh prepare

.PHONY: demo
demo: setup ## burn a Debian 13 image with burnonce in it, and watch it boot
	$(MAKE) deb
	cargo run $(elevated) --locked --package burnonce-vm --bin demo

# What the scenarios' images are made of, for either kind of initramfs.
.PHONY: bases
bases:
	$(as_root) tests/vm/image.sh --base
	$(as_root) tests/vm/image.sh --base --generator dracut

# What only compiles or waits for a mirror goes side by side: each of these has stretches in which a single program runs.
.PHONY: test
test: setup ## test everything, in virtual machines too
	mkdir -p target/vm-cache # as you are, before root makes something in it
	$(MAKE) --jobs=3 root-arm64 bases lint check-macos deny deb deb-arm64
	cargo test $(elevated) --locked --test arm64
	cargo test $(elevated) --locked --workspace --exclude burnonce-vm --exclude burnonce-crash
	cargo test $(elevated) --locked --package burnonce-crash -- --nocapture
	cargo test $(elevated) --locked --package burnonce-vm --lib --bins --test scenarios -- --test-threads=2 --nocapture

.PHONY: test-arm64
test-arm64: setup ## the package for arm64: cross-built, and installed under emulation (seven minutes)
	$(MAKE) --jobs=2 deb-arm64 root-arm64
	cargo test $(elevated) --locked --test arm64

.PHONY: test-pi
test-pi: setup ## a Raspberry Pi 3 in QEMU: an image is baked, burned, converted and reset (twenty minutes)
	$(MAKE) deb
	$(MAKE) deb ARCH=arm64
	cargo test $(elevated) --locked --package burnonce-vm --test pi -- --nocapture

.PHONY: test-long
test-long: setup ## the scenarios that take hours: lists of faults, hundreds of power cuts, all of make test with dracut
	$(MAKE) deb
	BURNONCE_LONG=1 cargo test $(elevated) --locked --test loop -- --nocapture a_reset_takes_the_same_time
	BURNONCE_LONG=1 cargo test $(elevated) --locked --test loop -- --nocapture a_call_that_fails_once
	cargo test $(elevated) --locked --package burnonce-vm --test long -- --test-threads=2 --nocapture
	BURNONCE_GENERATOR=dracut cargo test $(elevated) --locked --package burnonce-vm --test scenarios --test long -- --test-threads=2 --nocapture $(not_of_dracut)

# Scenarios that are about overlayroot, which an image of dracut's does not have, or about both, or about dracut in any case.
not_of_dracut := --skip without_overlayroot --skip baked:: --skip matrix:: --skip switched_tools \
                --skip other_initramfs

# What the parts of the proof leave for its page, each a line of JSON.
figures := $(CURDIR)/target/crash-figures.json

.PHONY: crash
crash: setup ## try every power cut, and write docs/reliability.md (an hour)
	$(MAKE) deb
	$(sudo) rm -f $(figures)
	BURNONCE_LONG=1 BURNONCE_FIGURES=$(figures) cargo test $(elevated) --locked --test loop -- --nocapture a_call_that_fails_once
	BURNONCE_FIGURES=$(figures) cargo run $(elevated) --locked --package burnonce-crash --bin crash

# growpart, rsync and systemd-repart are peers; on Debian 12 the last is in systemd's own package.
peers := cloud-guest-utils rsync $(if $(wildcard /usr/bin/systemd-repart),,systemd-repart)

.PHONY: bench
bench: setup ## burnonce beside its peers, and docs/performance.md (an hour and a half of an idle machine); BOOTS=0: without nodes (ten minutes)
	$(sudo) tests/setup.sh $(peers)
	$(MAKE) deb
	cargo run $(elevated) --locked --package burnonce-bench --bin bench -- --boots $(or $(BOOTS),7)

.PHONY: bench-quick
bench-quick: setup ## what burnonce writes and asks of the kernel, counted: a part of make test (a minute)
	$(MAKE) deb
	cargo test $(elevated) --locked --package burnonce-bench --test quick -- --nocapture

.PHONY: test-fast
test-fast: lint ## the part that takes under two minutes, without root
	cargo test --locked --workspace --exclude burnonce-vm --lib --bins $(fast) --test corpus

.PHONY: fuzz
fuzz: setup ## what reads bytes of others, under libFuzzer: FUZZ_SECONDS (60) for each target
	$(sudo) tests/setup.sh g++
	tests/fuzz/run.sh

.PHONY: sanitize
sanitize: setup ## the tests of what is unsafe, under valgrind and (with a nightly toolchain) AddressSanitizer
	$(sudo) tests/setup.sh valgrind
	tests/sanitize.sh

.PHONY: lint
lint: ## formatting, clippy, shell scripts
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	shellcheck share/overlayroot.local.conf $(shell find initramfs systemd/system-shutdown -type f -not -name fsck-root.conf) debian/burnonce.p* debian/cross.sh .ci/run $(wildcard tests/*.sh tests/vm/*.sh)

.PHONY: check-macos
check-macos: ## compile bake and inspect for macOS, without linking
	$(sudo) tests/setup.sh --macos
	tests/macos.sh

.PHONY: deny
deny: $(filter target/%,$(cargo_deny)) ## licences, banned crates and sources of the dependencies
	cargo fetch --locked
	$(cargo_deny) --workspace --offline --locked check --hide-inclusion-graph licenses bans sources

.PHONY: audit
audit: $(filter target/%,$(cargo_deny)) ## look for known vulnerabilities in the dependencies (network)
	$(cargo_deny) check advisories

target/tools/bin/cargo-deny:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny@$(deny_version) --locked --debug --root target/tools

.PHONY: clean
clean: ## remove target/
	$(sudo) rm -rf target
