/* ladder.h - what the rooms of the ladder hand on, one to the next. Data flows one way: a later
 * room changes nothing that an earlier one has written.
 *
 *   read.c     lines that tcpdump printed                 -> struct packet
 *              with (read.h): lines.c, clock.c (times), fields.c (what is behind the addresses),
 *              bytes.c (-x), numbers.c (relative numbers), complaint.c, words.c (memory)
 *   whose.c    all packets                                -> struct conversation
 *   heard.c    did a packet reach its receiver, and when? -> the part "heard" of struct packet
 *   states.c   RFC 9293: the state of each end            -> the part "states", struct outcome
 *   verdict.c  the outcome                                -> words
 *   calls.c    lines of the samples' programs             -> struct call
 *   draw.c     a conversation, its calls, its verdict     -> the drawing
 *   ladder.c   main(): the options, and all of this in its order
 */
#ifndef LADDER_H
#define LADDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Sequence numbers, as they are on the wire from read.c, and going on after 2^32 from whose.c, so
 * that they can be compared. Times are in microseconds. */
#define ABSENT INT64_MIN
#define NEVER INT32_MAX /* index of a packet that never comes */

enum flag { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64, CWR = 128, AE = 256 };

enum { CLIENT, SERVER, ENDS }; /* of a conversation */

enum state {
    UNKNOWN, /* nothing was recorded from which it follows */
    SILENT,  /* not one packet came from this end, nor is one known that was not recorded */
    SYN_SENT,
    SYN_RECEIVED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    CLOSE_WAIT,
    CLOSING,
    LAST_ACK,
    TIME_WAIT,
    CLOSED,
    NOT_SHOWN /* no state begins beside this packet */
};

/* A packet. TCP, or an ICMP error that answers one. */
struct packet {
    /* read.c */
    int64_t time;      /* since 1970, or since midnight, see struct reading */
    const char *from;  /* ADDRESS.PORT as tcpdump writes it; equal words are the same pointer. */
    const char *to;    /* Of an ICMP error: those of the packet that it quotes, as the numbers */
    const char *view;   /* where it was recorded ("eth0 In"; "any": somewhere), or NULL; equal
                         * words, same pointer */
    const char *icmp;  /* what an ICMP error says ("host unreachable"), NULL if this is TCP */
    const char *data;  /* its first bytes, at most 16, as hexadecimal digits; NULL: not known */
    int64_t seq;       /* the first number, or ABSENT, as of a pure ACK without -vv */
    int64_t end;       /* the one after the last (SYN and FIN count 1), or ABSENT */
    int64_t ack;       /* or ABSENT */
    int64_t sack;      /* the right edge of the right-most block, or ABSENT */
    uint32_t size;     /* bytes of data */
    int32_t window;    /* as printed; -1: not known */
    int32_t id;        /* of IPv4; -1: not known, or an ICMP error */
    int16_t ttl;       /* or hop limit; -1: not known, or an ICMP error */
    uint16_t flags;
    /* whose.c */
    uint8_t sender;    /* CLIENT or SERVER. Of an ICMP error: the end that it is told to */
    /* heard.c */
    bool again;        /* its sender has sent these bytes before */
    bool keep_alive;   /* a probe: the last byte once more, to make the peer answer */
    bool lost;         /* it never reached its receiver */
    bool hole;         /* packets before it are missing in the recording */
    int32_t heard;     /* index of the first packet at which its receiver is seen, or taken, to
                        * have it and all before it; its own if nothing speaks against; NEVER */
    int16_t other_ttl; /* of a RST: the ttl of its sender's others if that differs, else -1 */
    int32_t other_id;  /* of a RST: the IP id of its sender's packet before it if this one cannot
                        * follow that, else -1 */
    /* states.c */
    uint8_t shown[ENDS];  /* enum state that begins here, or NOT_SHOWN */
    const char *note;     /* " ignored", " in its name" ..., behind its words; "" if none */
};

/* What read.c has read. */
struct reading {
    struct packet *packets;
    size_t count;
    enum clock { SINCE_1970, TIME_OF_DAY, NO_TIMES } clock;
    char *complaint; /* why it is not whole, and the way out in brackets; NULL if it is */
};

/* Reads IN to its end: what tcpdump printed, with whatever options, other text around it. OURS:
 * it is what "tcpdump -nn -tt -S -v -K", perhaps with -x, prints of a recording, with its stderr;
 * then all numbers are absolute. FILTERED: there was a filter (for the complaint). Everything in
 * it lasts until the program ends. */
struct reading read_packets(FILE *in, bool ours, bool filtered);

struct conversation {
    struct conversation *next;   /* in the order of their first packets */
    const char *end[ENDS];       /* ADDRESS.PORT */
    struct packet **packet;      /* count of them, in the order in which they were recorded */
    int count;
    int copies;                  /* packets left out, for they are other views of one */
    bool guessed;                /* who is client: no SYN was recorded */
    int number;                  /* 1, 2, ... */
    const struct conversation *same_as; /* an earlier one, of which this is another view: before and
                                         * behind NAT; NULL if none */
    int translated;              /* then: the end (of this one) whose address is another there */
};

/* Sorts packets into conversations. Returns the first. */
struct conversation *find_conversations(struct reading *reading);

/* Fills in the part "heard" of all packets of C. */
void find_heard(struct conversation *c);

enum fate { NO_RESET, BELIEVED, CROSSED, LOST, IGNORED, IN_NAME };

/* How a conversation ended. Indexes are of its packets; -1: none. */
struct outcome {
    enum state state[ENDS]; /* after the last packet */
    bool whole;             /* its SYN is there */
    bool over;              /* both ends are CLOSED or TIME-WAIT */
    int reset;              /* the RST that decided */
    enum fate fate;         /* what became of it */
    /* ... what else verdict.c needs */
};

/* Fills in the part "states" of all packets of C. */
struct outcome play(struct conversation *c);

/* The verdict: one line without its end, e.g. "server reset it after 8 packets: RST, no FIN.
 * TIME-WAIT: nobody.". Valid until the next call. */
const char *verdict(const struct conversation *c, const struct outcome *outcome);

const char *state_name(enum state state); /* "SYN-SENT" */

/* What a program of the samples did. */
struct call {
    struct call *next;  /* of this connection and role, in their order */
    int64_t time;       /* on the clock of the conversation */
    int role;           /* CLIENT or SERVER */
    const char *text;   /* printable ASCII: send 4 bytes "ABCD" */
};

#endif
