# clua: build, try, test, install. `make help` lists the targets; V=1 shows the commands.
VERSION := 0.1.0
PREFIX ?= /usr/local

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

# ---- the front: needs nothing but make; what must be compiled is left to a second make, when the libraries are there ----

FRONT := help deps demo test torture asan bench bench-deps lint format clean uninstall
.PHONY: all install $(FRONT)

DEPS := scripts/dev/deps.sh
SUITE := spec/support/run.lua
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

# LuaJIT keeps its heap outside of malloc, where a leak checker does not look: all that only Lua holds would be a leak.
ASAN_OPTIONS ?= detect_leaks=0:abort_on_error=1:strict_string_checks=1
UBSAN_OPTIONS ?= print_stacktrace=1:halt_on_error=1

all: ## build build/clua (the default)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "make %-11s%s\n", $$1, $$2 }'

deps: ## install all that clua and its tools need (Debian packages)
	@$(DEPS) build test lint bench

demo: ## build, then run the demo in the foreground; Ctrl-C ends it
	@$(DEPS) build
	@$(MAKE) -s $(JOBS) all
	@exec build/clua scripts/demo/main.lua

test: ## build, then run the specs; SPEC=path runs one file or folder
	@$(DEPS) build test
	@$(MAKE) -s $(JOBS) all build/spec.so
	@CLUA='$(CURDIR)/build/clua' exec build/clua $(SUITE) $(SPEC)

torture: ## random events under mixed load: make torture SECONDS=180 SEED=n
	@$(DEPS) build test
	@$(MAKE) -s $(JOBS) all
	@CLUA='$(CURDIR)/build/clua' exec build/clua scripts/dev/torture.lua $(or $(SECONDS),180) $(SEED)

asan: ## the specs under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(DEPS) build test
	@$(MAKE) -s $(JOBS) VARIANT=asan all build/asan/spec.so
	@CLUA='$(CURDIR)/build/asan/clua' ASAN_OPTIONS='$(ASAN_OPTIONS)' UBSAN_OPTIONS='$(UBSAN_OPTIONS)' \
		exec build/asan/clua $(SUITE) $(SPEC)

bench: ## build, then measure clua and the peers that are installed; ARGS=--short takes less than a minute
	@$(DEPS) build bench
	@$(MAKE) -s $(JOBS) all
	@CLUA='$(CURDIR)/build/clua' exec build/clua scripts/bench/main.lua $(ARGS)

bench-deps: ## install the peers that clua is measured against
	@$(DEPS) bench peers

lint: ## check layout, layers, C and Lua without running anything
	@$(DEPS) build lint
	@$(MAKE) -s -k -O $(JOBS) lint-format lint-layers lint-lua lint-cppcheck lint-tidy
	@echo 'lint: no findings'

format: ## lay out the C files as lint wants them
	@$(DEPS) lint
	clang-format -i $(wildcard src/*.[ch] scripts/dev/*.c)

install: ## copy clua to PREFIX (/usr/local), below DESTDIR if given

uninstall: ## remove what install copied
	rm -f '$(DESTDIR)$(PREFIX)/bin/clua'
	rm -rf '$(DESTDIR)$(PREFIX)/share/doc/clua'
	rm -f '$(DESTDIR)$(PREFIX)/lib/systemd/system/clua@.service' '$(DESTDIR)$(PREFIX)/lib/systemd/system/clua@.socket'
	rm -f '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/clua.conf'

clean: ## remove what was built
	rm -rf build

ifneq ($(filter-out $(FRONT),$(or $(MAKECMDGOALS),all)),)

# ---- what this system has --------------------------------------------------------------------------------------------

ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config

hint := run `make deps`, which installs what the build needs
hash := \#
comma := ,
pkg = $(shell $(PKG_CONFIG) $1 2>/dev/null)
# The full name of a static library, or nothing: the compiler echoes the bare name of one that it does not find.
archive = $(filter /%,$(shell $(CC) -print-file-name=$1))

$(foreach tool,$(firstword $(CC)) $(PKG_CONFIG),$(if $(shell command -v $(tool)),,$(error $(tool) not found: $(hint))))

LUAJIT_INCLUDE := $(patsubst -I%,-isystem %,$(call pkg,--cflags luajit))
LUAJIT_ARCHIVE := $(call archive,libluajit-5.1.a)
ifneq ($(LUAJIT_ARCHIVE),)
# Whole, because a C module of Lua may call what clua itself does not.
LUAJIT_LIBS := -Wl,--whole-archive $(LUAJIT_ARCHIVE) -Wl,--no-whole-archive
else
LUAJIT_LIBS := $(or $(call pkg,--libs luajit),-lluajit-5.1)
endif

# luv's own .pc file asks for PUC Lua. Its folder may hold that lua.h: it comes after LuaJIT's.
LUV_INCLUDE := -isystem /usr/include/lua5.1
LUV_ARCHIVE := $(call archive,liblua5.1-luv.a)
LUV_LIBS := $(or $(LUV_ARCHIVE),-llua5.1-luv)

UV_INCLUDE := $(patsubst -I%,-isystem %,$(call pkg,--cflags libuv))
UV_LIBS := $(or $(call pkg,--libs libuv),-luv)

# As a library, or as Debian 12 has it: C sources in a package of Node's.
ifneq ($(call pkg,--modversion libllhttp),)
LLHTTP_INCLUDE := $(patsubst -I%,-isystem %,$(call pkg,--cflags libllhttp))
LLHTTP_LIBS := $(call pkg,--libs libllhttp)
LLHTTP_DIR :=
else
LLHTTP_INCLUDE := -isystem /usr/share/include/llhttp
LLHTTP_DIR := /usr/share/llhttp
endif

INCLUDE := -Isrc $(LUAJIT_INCLUDE) $(LUV_INCLUDE) $(LLHTTP_INCLUDE) $(UV_INCLUDE)

probe := $(shell printf '$(hash)include <%s>\n' stdio.h uv.h lua.h luv/luv.h llhttp.h | \
	sed '$$a $(hash)ifndef LUA_LJDIR\n$(hash)error lua.h found, but not that of LuaJIT\n$(hash)endif' | \
	$(CC) $(INCLUDE) -E -x c - 2>&1 >/dev/null | sed -n '/error:/{s/.*error: //;s/$(hash)error //;p;q}')
$(if $(probe),$(error $(probe): $(hint)))

# Bytecode and headers fit one LuaJIT only: another one in the same place makes everything again.
SYSTEM := $(shell stat -L -c '%n:%s:%Y' $(LUAJIT_ARCHIVE) $(LUV_ARCHIVE) $(LLHTTP_DIR:%=%/llhttp.c) 2>/dev/null) \
	$(call pkg,--modversion luajit) $(call pkg,--modversion libuv) $(call pkg,--modversion libllhttp)

# ---- flags -----------------------------------------------------------------------------------------------------------

WERROR ?= -Werror
WARN := -Wall -Wextra $(WERROR) -Wswitch-enum -Wshadow -Wstrict-prototypes -Wmissing-prototypes
# The strict llhttp refuses a lone CR as a line end, a space in a header name, a chunk without its CRLF and bytes above
# 127 in a URL: all but the last are ways to smuggle a request. llhttp 9 is always strict.
DEFINE := -D_GNU_SOURCE -DLLHTTP_STRICT_MODE=1 -DCLUA_VERSION='"$(VERSION)"'
HARDEN := -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fno-plt

# OUT is where a variant is built: build/ or build/asan/.
ifeq ($(VARIANT),asan)
OUT := build/asan
OPT := -O1 -g -fno-omit-frame-pointer
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
HARDEN :=
else ifeq ($(VARIANT),)
OUT := build
OPT := -O2 -g
else
$(error no variant '$(VARIANT)': leave it out, or say VARIANT=asan)
endif

COMPILE := $(CC) -std=gnu11 $(WARN) $(DEFINE) $(INCLUDE) $(OPT) $(HARDEN) $(SANITIZE) -fPIE $(CPPFLAGS) $(CFLAGS) -MMD -MP
# Not our code: no warnings; and only the address sanitizer, which watches the buffers that we hand to it.
COMPILE_LLHTTP := $(CC) -std=gnu11 -w $(DEFINE) $(LLHTTP_INCLUDE) $(OPT) $(HARDEN) $(if $(SANITIZE),-fsanitize=address) \
	-fPIE $(CPPFLAGS) $(CFLAGS) -MMD -MP
# Only the Lua API is exported. With -Wl,-E a C module of Lua would find our functions before its own of the same name.
EXPORT := $(patsubst %,-Wl$(comma)--export-dynamic-symbol='%*',lua_ luaL_ luaJIT_ luaopen_)
LINK := $(CC) -pie $(OPT) $(SANITIZE) -Wl,-z,relro,-z,now $(EXPORT) $(LDFLAGS)
LIBS := $(LUAJIT_LIBS) $(LUV_LIBS) $(LLHTTP_LIBS) $(UV_LIBS) -lm -ldl -lpthread

# ---- files -----------------------------------------------------------------------------------------------------------

C_FILES := $(sort $(wildcard src/*.c))
H_FILES := $(sort $(wildcard src/*.h))
DEV_C_FILES := $(sort $(wildcard scripts/dev/*.c))
LUA_FILES := $(sort $(shell find lua/clua -name '*.lua' 2>/dev/null))

OBJECTS := $(C_FILES:src/%.c=$(OUT)/obj/%.o) $(OUT)/obj/generated/embedded.o \
	$(patsubst $(LLHTTP_DIR)/%.c,$(OUT)/obj/llhttp/%.o,$(if $(LLHTTP_DIR),$(sort $(wildcard $(LLHTTP_DIR)/*.c))))

# $(call remember,NAME,TEXT): what depends on build/NAME is made again when TEXT is not what it was.
$(shell mkdir -p $(OUT)/made-with build/made-with)
same = $(and $(findstring <$(strip $1)>,<$(strip $2)>),$(findstring <$(strip $2)>,<$(strip $1)>))
remember = $(if $(call same,$(file <$1),$2),,$(file >$1,$(strip $2)))
$(call remember,$(OUT)/made-with/compile,$(COMPILE) $(COMPILE_LLHTTP) $(SYSTEM))
$(call remember,$(OUT)/made-with/link,$(LINK) $(OBJECTS) $(LIBS))
$(call remember,build/made-with/lua-files,$(LUA_FILES))
$(call remember,build/made-with/luajit,$(CC) $(LUAJIT_INCLUDE) $(LUAJIT_LIBS) $(SYSTEM))

step = $(if $(V),,@echo '  $1 $(2:$(CURDIR)/%=%)' &&)

# ---- rules -----------------------------------------------------------------------------------------------------------

all: $(OUT)/clua

install: all
	install -D -m 755 build/clua '$(DESTDIR)$(PREFIX)/bin/clua'
	install -d '$(DESTDIR)$(PREFIX)/share/doc/clua'
	install -m 644 README.md LICENSE '$(DESTDIR)$(PREFIX)/share/doc/clua'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	for unit in clua@.service clua@.socket; do \
		sed 's|/usr/local/|$(PREFIX)/|' scripts/systemd/$$unit >'$(DESTDIR)$(PREFIX)/lib/systemd/system/'$$unit && \
		chmod 644 '$(DESTDIR)$(PREFIX)/lib/systemd/system/'$$unit || exit 1; done
	install -D -m 644 scripts/systemd/clua.tmpfiles.conf '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/clua.conf'

$(OUT)/clua: $(OBJECTS) $(OUT)/made-with/link
	$(call step,LINK,$@) $(LINK) -o $@ $(OBJECTS) $(LIBS)

$(OUT)/obj/%.o: src/%.c $(OUT)/made-with/compile Makefile
	@mkdir -p $(@D)
	$(call step,CC  ,$<) $(COMPILE) -c -o $@ $<

$(OUT)/obj/generated/%.o: build/%.c $(OUT)/made-with/compile Makefile
	@mkdir -p $(@D)
	$(call step,CC  ,$<) $(COMPILE) -c -o $@ $<

$(OUT)/obj/llhttp/%.o: $(LLHTTP_DIR)/%.c $(OUT)/made-with/compile Makefile
	@mkdir -p $(@D)
	$(call step,CC  ,$<) $(COMPILE_LLHTTP) -c -o $@ $<

build/embedded.c: build/embed $(LUA_FILES) build/made-with/lua-files
	$(call step,LUA ,lua/clua) build/embed $@ lua/

build/embed: scripts/dev/embed.c build/made-with/luajit Makefile
	$(call step,CC  ,$<) $(CC) -std=gnu11 $(WARN) -D_GNU_SOURCE $(LUAJIT_INCLUDE) -O1 -g -o $@ $< $(LUAJIT_LIBS) -lm -ldl

-include $(OBJECTS:.o=.d)

# ---- for the specs: the parts of the core that need neither Lua nor an event loop, called through LuaJIT's FFI ---------

SPEC_PARTS := wheel segment channel balance slot_state log cpus privilege
SPEC_C_FILES := $(SPEC_PARTS:%=src/%.c) spec/support/core.c
SPEC_H_FILES := $(SPEC_PARTS:%=src/%.h)

# Beside it the declarations, from the very headers: what the FFI would not parse is taken out.
$(OUT)/spec.so: $(SPEC_C_FILES) $(SPEC_H_FILES) $(OUT)/made-with/compile Makefile
	$(call step,SPEC,$@) $(filter-out -MMD -MP,$(COMPILE:-fPIE=-fPIC)) -shared -o $@ $(SPEC_C_FILES) $(UV_LIBS)
	@sed -e '/^#include/d' -e '/^static inline/,/^}/d' $(SPEC_H_FILES) | \
		$(CC) -E -P -x c -D_Atomic= '-Dalignas(n)=__attribute__((aligned(n)))' - >$(@:.so=.h)

# ---- lint ------------------------------------------------------------------------------------------------------------

.PHONY: lint-format lint-layers lint-lua lint-cppcheck lint-tidy

lint-format:
	$(call step,LINT,clang-format) clang-format --dry-run -Werror $(C_FILES) $(H_FILES) $(DEV_C_FILES) || \
		{ echo 'lint: `make format` lays them out' >&2; exit 1; }

lint-layers:
	$(call step,LINT,layers) scripts/dev/layers.sh

lint-lua:
	$(call step,LINT,luacheck) luacheck --no-color -q $(wildcard lua spec scripts)

lint-cppcheck:
	$(call step,LINT,cppcheck) cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=normalCheckLevelMaxBranches --error-exitcode=1 -Isrc $(DEFINE) $(C_FILES) $(DEV_C_FILES)

lint-tidy: $(patsubst %.c,build/lint/%.tidy,$(C_FILES) $(DEV_C_FILES))

build/lint/%.tidy: %.c $(H_FILES) .clang-tidy $(OUT)/made-with/compile
	@mkdir -p $(@D)
	$(call step,TIDY,$<) clang-tidy --quiet $< -- -std=gnu11 $(DEFINE) $(INCLUDE) 2>$@.log || { cat $@.log >&2; exit 1; }
	@touch $@

endif
