# The programs of each sample, and what is done with them: see make help.
CFLAGS = -O2 -g
samples = $(wildcard sample[1-9])
programs = $(samples:%=%/server) $(samples:%=%/client)

all: $(programs)

$(samples): %: %/server %/client

$(programs): %: %.c Makefile
	$(CC) -std=c17 -Wall -Wextra -Wpedantic $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $<

demo: all
	@scripts/demo.sh

test: all
	prove -j6 tests

lint: all
	tests/lint

stress: all
	tests/stress
	ROUNDS=$${ROUNDS:-10000} prove tests/hostile.t
	MOMENTS=$${MOMENTS:-50} prove tests/interrupt.t

bench: all
	tests/bench

clean:
	rm -rf $(programs) tests/bin

help:
	@echo 'make         build the programs (CC, CPPFLAGS, CFLAGS, LDFLAGS are honoured)'
	@echo 'make demo    run, record and draw the three samples: start here'
	@echo 'make test    prove every claim on real packets, in a private network'
	@echo 'make lint    warnings of gcc and clang, analysers, sanitizers, valgrind, shellcheck'
	@echo 'make stress  thousands of conversations, hostile peers and interruptions (N=, ROUNDS=)'
	@echo 'make bench   what it costs, beside the least and beside other tools'
	@echo 'make clean   remove what make made; recordings in captures/ stay'

.PHONY: all $(samples) demo test lint stress bench clean help
