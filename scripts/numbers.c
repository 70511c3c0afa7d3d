/* numbers.c - numbers and times of somebody's text as a recording would have them.
 *
 * In: packets with the numbers that tcpdump printed. It prints them as they are on the wire in
 * SYNs, in packets without ACK, and all of them with -S; else relative to the latest SYN, ACK of
 * the two ends, or to their first packet with ACK (print-tcp.c). Out: those of the wire. Each pair
 * of ends is decided for itself. And: times out of the differences of -ttt, or out of TCP's
 * timestamps where -t left out the times.
 */
#include "read.h"

#include <stdlib.h>

#define WINDOW 16777216 /* bytes: larger than any window that is in use */
#define MILLISECOND 1000

/* Two ends. Arrays have a member for each of them. */
struct pair {
    const char *end[2];
    int64_t base[2];  /* what is subtracted from this end's numbers, or ABSENT */
    int64_t isn[2];   /* of its SYN */
    int64_t acked[2]; /* the latest that it acknowledged */
    int64_t began[2]; /* what its timestamp would have been at the time 0 */
    int votes;        /* for relative numbers, less those for absolute ones */
    bool known;       /* base was taken */
};

/* The pair of the ends of P. */
static struct pair *pair_of(struct table *all, const struct packet *p)
{
    struct slot *slot = slot_of_ends(all, p->from, p->to);
    struct pair *pair = slot->thing;

    if (pair == NULL) {
        pair = checked(malloc(sizeof *pair));
        *pair = (struct pair){ .end = { p->from, p->to }, .began = { ABSENT, ABSENT },
            .isn = { ABSENT, ABSENT }, .acked = { ABSENT, ABSENT } };
        slot->thing = pair;
    }
    return pair;
}

/* ---- numbers --------------------------------------------------------------------------------- */
static int64_t distance(int64_t a, int64_t b)
{
    int64_t far = (int32_t)(uint32_t)(a - b);

    return far < 0 ? -far : far;
}

static int64_t plus(int64_t number, int64_t base)
{
    if (number == ABSENT || base == ABSENT)
        return number;
    return (uint32_t)(number + base);
}

/* tcpdump prints P, of the end E, as it is, and the packets after it relative to it. */
static void take_base(struct pair *pair, int e, const struct packet *p)
{
    pair->known = true;
    pair->base[!e] = p->ack - 1;
    pair->base[e] = ABSENT; /* a pure ACK does not show its own number */
    if (p->seq != ABSENT)
        pair->base[e] = p->seq;
    else if (pair->isn[e] != ABSENT)
        pair->base[e] = pair->isn[e] + 1;
}

/* How far NUMBER of the end E is from where its numbers began: at the base, or at a SYN since. */
static int64_t distance_from_start(const struct pair *pair, int e, int64_t number)
{
    int64_t far = distance(number, pair->base[e] + 1);
    int64_t far_from_syn = far;

    if (pair->isn[e] != ABSENT)
        far_from_syn = distance(number, pair->isn[e] + 1);
    return far < far_from_syn ? far : far_from_syn;
}

/* Are the numbers of P nearer to the first ones of its ends as they are, or with the base? */
static void vote(struct pair *pair, int e, const struct packet *p)
{
    int64_t if_relative = 0;
    int64_t if_absolute = 0;

    if (pair->base[!e] != ABSENT) {
        if_relative += distance_from_start(pair, !e, p->ack + pair->base[!e]);
        if_absolute += distance_from_start(pair, !e, p->ack);
    }
    if (p->seq != ABSENT && pair->base[e] != ABSENT && !(p->flags & RST)) { /* a RST's may be 0 */
        if_relative += distance_from_start(pair, e, p->seq + pair->base[e]);
        if_absolute += distance_from_start(pair, e, p->seq);
    }
    if (if_relative < if_absolute)
        pair->votes++;
    if (if_relative > if_absolute)
        pair->votes--;
}

/* Lets the packets vote. */
static void count_votes(struct table *all, const struct reading *reading)
{
    for (size_t i = 0; i < reading->count; i++) {
        const struct packet *p = &reading->packets[i];
        struct pair *pair = pair_of(all, p);
        int e = p->from != pair->end[0];
        if (p->flags & SYN)
            pair->isn[e] = p->seq;
        if (!(p->flags & ACK))
            continue;
        if (p->flags & SYN || !pair->known)
            take_base(pair, e, p);
        else
            vote(pair, e, p);
    }
    for (size_t i = 0; i < all->size; i++) {
        struct pair *pair = all->slots[i].thing;
        if (pair == NULL)
            continue;
        pair->known = false;
        pair->isn[0] = ABSENT;
        pair->isn[1] = ABSENT;
    }
}

/* A bare RST. Its number is that of the wire; but where no SYN was printed, the others may be
 * relative to a packet that is not here: then it is what its peer has acknowledged. */
static void place_reset(const struct pair *pair, int e, struct packet *p)
{
    int64_t expected = pair->acked[!e];
    bool known = pair->isn[0] != ABSENT || pair->isn[1] != ABSENT;

    if (known || expected == ABSENT)
        return;
    if (distance(p->seq, expected) > WINDOW) {
        p->end = plus(p->end, expected - p->seq);
        p->seq = expected;
    }
}

/* Makes the numbers of P, which has an ACK and is of the end E, those of the wire. */
static void shift(struct pair *pair, int e, struct packet *p, bool relative)
{
    bool first = p->flags & SYN || !pair->known;

    if (first)
        take_base(pair, e, p);
    if (relative && !first) {
        p->seq = plus(p->seq, pair->base[e]);
        p->end = plus(p->end, pair->base[e]);
        p->ack = plus(p->ack, pair->base[!e]);
    }
    pair->acked[e] = p->ack;
}

/* Makes all numbers of READING those of the wire. */
void make_absolute(struct reading *reading)
{
    struct table all = { 0 };

    count_votes(&all, reading);
    for (size_t i = 0; i < reading->count; i++) {
        struct packet *p = &reading->packets[i];
        struct pair *pair = pair_of(&all, p);
        int e = p->from != pair->end[0];
        bool relative = pair->votes > 0;
        if (p->flags & SYN)
            pair->isn[e] = p->seq;
        if (p->flags & ACK)
            shift(pair, e, p, relative);
        else if (p->flags & RST)
            place_reset(pair, e, p);
    }
    free(all.slots);
}

/* ---- times ----------------------------------------------------------------------------------- */
/* Without times: the timestamps of an end count milliseconds, as Linux does. */
static void count_by_stamps(struct reading *reading, const struct raw *raw)
{
    struct table all = { 0 };
    int64_t now = 0;

    for (size_t i = 0; i < reading->count; i++) {
        struct packet *p = &reading->packets[i];
        struct pair *pair = pair_of(&all, p);
        int e = p->from != pair->end[0];
        if (raw[i].stamp != ABSENT) {
            int64_t stamp = raw[i].stamp * MILLISECOND;
            if (pair->began[e] == ABSENT)
                pair->began[e] = stamp - now;
            if (stamp - pair->began[e] > now)
                now = stamp - pair->began[e];
        }
        p->time = now;
    }
    free(all.slots);
}

/* Makes the times of READING those of one clock. UNTIMED: packets at its beginning whose time is
 * not known. DIFFERENCES: the times are those of -ttt. */
void make_times(struct reading *reading, const struct raw *raw, size_t untimed, bool differences)
{
    if (reading->clock == NO_TIMES) {
        count_by_stamps(reading, raw);
        return;
    }
    if (differences)
        for (size_t i = 0; i < reading->count; i++)
            reading->packets[i].time = raw[i].sum;
    if (untimed < reading->count)
        for (size_t i = 0; i < untimed; i++)
            reading->packets[i].time = reading->packets[untimed].time;
}
