/* ladder.h - what the rooms of the ladder hand on, one to the next. Each fills in a part of its own
 * (whose.c also makes the numbers of read.c go on after 2^32), and reads those before it.
 *
 *   read.c     lines that tcpdump printed                 -> struct packet
 *              with (read.h): lines.c, clock.c (times), fields.c (what is behind the addresses),
 *              bytes.c (-x), numbers.c (relative numbers), complaint.c, words.c (memory)
 *   table.c    a hash table, for numbers.c and whose.c
 *   whose.c    all packets                                -> struct conversation
 *   heard.c    did a packet reach its receiver, and when? -> the part "heard" of struct packet
 *   states.c   RFC 9293: the state of each end            -> the part "states", struct outcome
 *   resets.c   ... and what becomes of a RST
 *   verdict.c  the outcome                                -> words
 *   calls.c    lines of the samples' programs             -> struct call
 *   draw.c     a conversation, its calls, its verdict     -> the drawing
 *   ladder.c   main(): the options, and all of this in its order
 */
#ifndef LADDER_H
#define LADDER_H

#define _POSIX_C_SOURCE 200809L /* this header is the first in each file */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Sequence numbers, as they are on the wire from read.c, and going on after 2^32 from whose.c, so
 * that they can be compared. Times are in microseconds. */
#define ABSENT INT64_MIN /* less than all numbers: "a > b" is false if a is absent */
#define NEVER INT32_MAX /* index of a packet that never comes */
#define SWAPPED 1000    /* microseconds: as near as this, lo may record two packets in the wrong
                         * order, for each CPU has a queue of its own */

enum flag { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64, CWR = 128, AE = 256 };

enum { CLIENT, SERVER, ENDS }; /* of a conversation */

enum state {
    UNKNOWN,      /* its beginning is not there */
    NOT_RECORDED, /* its peer has heard it, but none of its packets is there */
    SILENT,       /* not one packet came from it */
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
    NOT_SHOWN     /* no state begins beside this packet */
};

/* A packet. TCP, or an ICMP error that answers one. */
struct packet {
    /* read.c */
    int64_t time;      /* since 1970, or since midnight, see struct reading */
    const char *from;  /* ADDRESS.PORT as tcpdump writes it; equal words are the same pointer. */
    const char *to;    /* Of an ICMP error: those of the packet that it quotes, as the numbers */
    const char *view;  /* where it was recorded ("eth0 In"), or NULL; equal words, same pointer */
    const char *icmp;  /* what an ICMP error says ("host unreachable"), NULL if this is TCP */
    const char *data;  /* its first bytes, at most 16, as hexadecimal digits; NULL: not known */
    int64_t seq;       /* the first number, or ABSENT, as of a pure ACK without -vv */
    int64_t end;       /* the one after the last (SYN and FIN count 1), or ABSENT */
    int64_t ack;       /* or ABSENT */
    uint32_t size;     /* bytes of data */
    int32_t window;    /* as printed; -1: not known */
    int32_t id;        /* of IPv4; -1: not known, or an ICMP error */
    int16_t ttl;       /* or hop limit; -1: not known, or an ICMP error */
    uint16_t flags;
    /* whose.c */
    uint8_t sender;    /* CLIENT or SERVER. Of an ICMP error: the end that it is told to */
    bool stray;        /* its numbers are far from all others: an old packet, or a forged one */
    /* heard.c */
    bool again;        /* its sender has sent these bytes before */
    bool keep_alive;   /* a probe: the last byte once more, to make the peer answer */
    bool unreached;    /* it has not reached its receiver: an ICMP error says so */
    bool hole;         /* packets before it are missing in the recording */
    int32_t heard;     /* of a FIN: index of the packet at which its receiver has it, and all
                        * before it; NEVER */
    int64_t heard_ack; /* what its receiver has learned of ack: not what it sent again later */
    /* states.c, resets.c */
    int16_t other_ttl; /* of a RST: the ttl of its sender's others if that differs, else -1 */
    int32_t other_id;  /* of a RST: the IP id of its sender's packet before it if this one cannot
                        * follow that, else -1 */
    uint8_t shown[ENDS]; /* enum state that begins here, or NOT_SHOWN */
    bool lost;         /* it never reached its receiver */
    const char *note;  /* " ignored" or " in its name", behind its words; "" if none */
};

void *checked(void *memory); /* MEMORY, or ends the program if it is NULL */
bool is_reset(const struct packet *p);
bool has_bytes(const struct packet *p); /* data, SYN or FIN: it takes room among the numbers */
bool is_bare_syn(const struct packet *p); /* and no stray one */

/* ---- table.c: found by two words, or by a word and a number ---------------------------------- */

struct slot {
    const char *word; /* NULL: it is free */
    uint64_t other;
    void *thing;
};

struct table {
    struct slot *slots; /* NULL: there are none yet */
    size_t size;        /* a power of two */
    size_t used;
};

/* The slot of WORD and OTHER; a new one, of which the thing is NULL, if there was none. */
struct slot *slot_of(struct table *table, const char *word, uint64_t other);

/* The slot of a pair of ends, the same for both directions. */
struct slot *slot_of_ends(struct table *table, const char *a, const char *b);

/* ---- read.c ---------------------------------------------------------------------------------- */

enum clock { SINCE_1970, TIME_OF_DAY, NO_TIMES };

/* What read.c has read. */
struct reading {
    struct packet *packets;
    size_t count;
    enum clock clock;
    char *complaint; /* why it is not whole, and the way out in brackets; NULL if it is */
};

/* Reads IN to its end: what tcpdump printed, with whatever options, other text around it. OURS:
 * it is what "tcpdump -nn -tt -S -vv -K", perhaps with -x, prints of a recording, with its stderr;
 * then all numbers are absolute. FILTERED: there was a filter (for the complaint). Everything in
 * it lasts until the program ends. */
struct reading read_packets(FILE *in, bool ours, bool filtered);

struct conversation {
    struct conversation *next;   /* in the order of their first packets */
    const char *end[ENDS];       /* ADDRESS.PORT */
    struct packet **packet;      /* count of them, in the order in which they were recorded */
    int count;
    int64_t begin;               /* time of the packet that was recorded first */
    int copies;                  /* packets left out, for they are other views of one */
    bool guessed;                /* who is client: no SYN was recorded */
    int number;                  /* 1, 2, ... */
    const struct conversation *same_as; /* an earlier one, of which this is another view: before and
                                         * behind NAT; NULL if none */
    int translated;              /* then: the end (of this one) whose address is another there */
    bool has_older;              /* its SYN was answered by an end that has an older connection */
    /* heard.c */
    int64_t on_the_way;          /* microseconds: so long may a packet be, and its answer */
    bool filtered;               /* a filter has left SYN, FIN and RST alone */
};

/* Sorts packets into conversations. Returns the first. */
struct conversation *find_conversations(struct reading *reading);

/* Fills in the part "heard" of all packets of C, and of C. */
void find_heard(struct conversation *c);

/* ---- states.c, resets.c: what RFC 9293 makes of it ------------------------------------------- */

enum fate { NO_RESET, BELIEVED, CROSSED, LOST, IGNORED, IN_NAME };

/* An end, as it is known after the packets that were played so far. */
struct end {
    enum state state;
    int64_t iss;        /* the number of its SYN */
    int64_t snd_nxt;    /* the one after the last that it has sent */
    int64_t rcv_nxt;    /* the last that it has acknowledged */
    int64_t fin_end;    /* the number after its FIN */
    bool fin_acked;
    bool has_older;     /* it answers for an older connection */
    bool ignores;       /* it has ignored a RST in TIME-WAIT, or in that older connection */
    bool reset_pending; /* a RST is on its way to it */
    int spoken;         /* its latest packet that is no RST; -1: none */
    int closes;         /* the packet after which the RST comes that was on its way; -1 */
};

/* How a conversation ended. Indexes are of its packets; -1: none. */
struct outcome {
    struct end end[ENDS];
    bool whole;                 /* its SYN is there */
    bool itself;                /* one end, connected to itself: no states */
    bool over;                  /* nothing more can come */
    bool gave_up;               /* the client took back its SYN, which nobody had answered */
    bool fins_crossed;          /* neither end had heard the other's FIN when it sent its own */
    bool answers_syn_ack;       /* the RST came from an end that knew nothing of the SYN */
    bool forgotten;             /* the RST came from an end that had no connection any more */
    bool both;                  /* its receiver sent a RST as well */
    bool wrong_ack;             /* a RST that refused the SYN did not acknowledge it */
    int reset;                  /* the RST that decided */
    enum fate fate;             /* what became of it */
    enum state meant;           /* the state in which its receiver was */
    int met;                    /* what was still sent, and ... */
    int answer;                 /* ... the RST that met it */
    enum fate forged[ENDS];     /* of a RST in this end's name that its TCP has not sent */
};

/* What an end sends after a packet, up to the next SYN. Indexes; -1: nothing. */
struct later {
    int next;       /* its next packet that is no RST, */
    int last;       /* its last, */
    int until;      /* its last before the next RST to it; -1 also if that comes first */
    int next_reset; /* its next RST */
    int64_t ack;    /* the highest that it acknowledges; ABSENT */
    int64_t end;    /* the highest that it sends; ABSENT */
    bool opens;     /* there is a SYN, ACK */
};

/* A conversation that is being played. */
struct play {
    struct conversation *c;
    struct outcome outcome;
    struct later *later[ENDS];       /* later[e][i]: what e sends after packet i */
    int last_ack[ENDS];              /* each end's last packet with ACK that is no RST; -1 */
    int syn_ack[ENDS];               /* its last SYN, ACK; -1 */
    int last_syn;                    /* the last bare SYN; -1 */
    bool syn_missed;                 /* a SYN came again after the SYN, ACK: that was not heard */
    bool ack_missed;                 /* a SYN, ACK came again after an ACK: that was not heard */
};

/* Plays C from its first packet to its last: fills in the part "states" of its packets. */
struct outcome find_outcome(struct conversation *c);

/* Plays packet I, a RST. */
void play_reset(struct play *play, int i);

/* Fills in what of each RST of C differs from its sender's other packets. */
void find_evidence(struct conversation *c);

bool is_over(const struct outcome *outcome);

/* Does P acknowledge the SYN of ME, which is in SYN-SENT? 3.10.7.3: ISS < ack <= SND.NXT */
bool acknowledges_syn(const struct end *me, const struct packet *p);

/* ---- verdict.c, draw.c ----------------------------------------------------------------------- */

/* The verdict: one line without its end, e.g. "server reset it after 8 packets: RST, no FIN.
 * TIME-WAIT: nobody.". Valid until the next call. */
const char *verdict(const struct conversation *c, const struct outcome *outcome);

const char *state_name(enum state state); /* "SYN-SENT" */

/* What a program did. */
struct call {
    int64_t time;      /* on the clock of the packets */
    const char *text;  /* send 4 bytes "ABCD" */
    size_t order;      /* among those of one time */
    int conversation;  /* its number */
    int role;          /* CLIENT or SERVER: which of the programs */
};

struct calls {
    struct call *call; /* in the order of the conversations and their time */
    size_t count;
};

/* Reads those of COUNT FILES that are called *.log, and finds the conversation of each call. Calls
 * of no conversation are left out. What it returns lasts until the program ends. */
struct calls find_calls(char *const *files, size_t count, const struct conversation *first);

/* What of a drawing is the same for all conversations. */
struct drawing {
    FILE *out;
    enum clock clock;
    bool times; /* draw times, calls and the client's port: what differs from run to run */
};

/* Draws C with its CALLS, of which there are COUNT. */
void draw(const struct drawing *drawing, const struct conversation *c, const struct call *calls,
          size_t count, const char *verdict);

/* Prints "HH:MM:SS.ffffff CLIENT > SERVER: VERDICT" instead; "-" if there is no time of day. */
void print_verdict(const struct drawing *drawing, const struct conversation *c,
                   const char *verdict);

#endif
