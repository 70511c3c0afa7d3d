# The programs of each sample and the ladder, and what is done with them: see make help.
CFLAGS = -O2 -g
samples = $(wildcard sample[1-9])
programs = $(samples:%=%/server) $(samples:%=%/client)
rooms = $(wildcard scripts/*.c)
compile = $(CC) -std=c17 -Wall -Wextra -Wpedantic $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)

all: $(programs) scripts/ladder

$(samples): %: %/server %/client

$(programs): %: %.c Makefile
	$(compile) -o $@ $<

scripts/ladder: $(rooms) $(wildcard scripts/*.h) Makefile
	$(compile) -o $@ $(rooms)

demo: all
	@scripts/demo.sh

test: all
	prove -j6 tests

lint: all
	tests/lint

clean:
	rm -rf $(programs) scripts/ladder tests/bin

help:
	@echo 'make         build the programs (CC, CPPFLAGS, CFLAGS, LDFLAGS are honoured)'
	@echo 'make demo    run, record and draw the three samples: start here'
	@echo 'make test    prove each promise on real packets, in private networks'
	@echo 'make lint    warnings of compilers, analysers, sanitizers, valgrind, shellcheck'
	@echo 'make clean   remove what make made; recordings in captures/ stay'

.PHONY: all $(samples) demo test lint clean help
.DELETE_ON_ERROR:
