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
demo: # all three samples at once, recorded in a private network and drawn
	@$(MAKE) -s --no-print-directory all
	@echo "Recording three conversations. sample3's client sleeps for 3 s before it reads: please wait ..."
	@scripts/lab.sh scripts/capture.sh --run all >/dev/null
	@echo; scripts/ladder.sh captures/all.pcap
	@echo; echo 'The recording is captures/all.pcap, the lines of the programs are in captures/all.*.log.'
.PHONY: demo
