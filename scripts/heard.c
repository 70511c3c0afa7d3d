/* heard.c - did a packet reach its receiver, and when?
 *
 * In: a conversation. Out: the part "heard" of its packets. What came later tells: what its sender
 * sent again was not heard (or its ACK was not), what the peer acknowledges was, and a FIN is heard
 * when all that was sent before it is there. How long a packet may be on its way, the handshake
 * tells. What became of a RST depends on its receiver's state: resets.c.
 */
#include "ladder.h"

#include <stdlib.h>

enum {
    USUAL = 200000,      /* microseconds: the round trip, if no handshake tells */
    SLOWEST = 3000000,   /* a handshake that took longer lost a packet */
    SLACK = 2000,        /* a receiver that is busy for so long has lost no packet */
    LOOK_BACK = 64,      /* packets: an ICMP error comes before many others are sent */
    MOST_FINS = 64,      /* in one conversation; TCP sends two, and each some times again */
    NEAR_ID = 5000       /* IP ids of one sender go on in small steps, or they tell nothing */
};

static bool is_data(const struct packet *p)
{
    return has_bytes(p) && !(p->flags & (SYN | FIN));
}

/* ---- what was sent again --------------------------------------------------------------------- */

/* What an end has sent, by numbers. */
struct sent {
    int64_t to;      /* the number after the last */
    int64_t acked;   /* the peer has acknowledged so far */
    int64_t ack;     /* the latest that it has acknowledged itself */
    int64_t *begins; /* first number of each packet that took room, sorted */
    int count;
};

/* Has an earlier packet begun at SEQ, or between it and END? Remembers that one has now. */
static bool overlaps(struct sent *sent, const struct packet *p)
{
    int low = 0;
    int high = sent->count;
    bool found;

    while (low < high) {
        const int middle = low + (high - low) / 2;

        if (sent->begins[middle] < p->seq)
            low = middle + 1;
        else
            high = middle;
    }
    found = low < sent->count && sent->begins[low] < p->end;
    if (!found) { /* what fills a hole is inserted: seldom far from the end */
        for (int i = sent->count; i > low; i--)
            sent->begins[i] = sent->begins[i - 1];
        sent->begins[low] = p->seq;
        sent->count++;
    }
    return found;
}

static void find_again(struct conversation *c)
{
    struct sent sent[ENDS];

    for (int e = 0; e < ENDS; e++) {
        sent[e] = (struct sent){ .to = ABSENT, .acked = ABSENT, .ack = ABSENT };
        sent[e].begins = checked(malloc((size_t)c->count * sizeof *sent[e].begins));
    }
    for (int i = 0; i < c->count; i++) {
        struct packet *p = c->packet[i];
        struct sent *mine = &sent[p->sender];
        const bool acks_more = p->ack != ABSENT && p->ack > mine->ack;

        if (p->icmp != NULL || is_reset(p) || p->stray)
            continue;
        if (p->ack > sent[!p->sender].acked)
            sent[!p->sender].acked = p->ack;
        if (acks_more)
            mine->ack = p->ack;
        if (!has_bytes(p))
            continue;
        if (p->end > mine->to) {
            mine->to = p->end;
            overlaps(mine, p);
            continue;
        }
        p->again = overlaps(mine, p);
        /* A probe of keep-alive: one byte, or none, that was acknowledged long ago. */
        p->keep_alive = p->again && is_data(p) && p->size == 1 && p->end <= mine->acked;
        /* BSD and macOS send each ACK in CLOSING with the FIN: that is no FIN again. */
        if (p->flags & FIN && acks_more && p->seq + 1 == p->end)
            p->again = false;
    }
    for (int e = 0; e < ENDS; e++)
        free(sent[e].begins);
}

/* Was P sent again because its sender waited in vain? */
static bool waited(const struct packet *p)
{
    return p->again && !p->keep_alive;
}

/* ---- acknowledgements ------------------------------------------------------------------------ */

/* What an ACK says, its receiver has not learned if it sends the same bytes again later. */
static void find_heard_acks(struct conversation *c)
{
    int64_t sent_again[ENDS] = { INT64_MAX, INT64_MAX };

    for (int i = c->count - 1; i >= 0; i--) {
        struct packet *p = c->packet[i];
        const int64_t limit = sent_again[!p->sender];

        p->heard_ack = p->ack != ABSENT && p->ack > limit ? limit : p->ack;
        if (is_bare_syn(p)) { /* all begins anew */
            sent_again[CLIENT] = INT64_MAX;
            sent_again[SERVER] = INT64_MAX;
        } else if (waited(p) && !is_reset(p) && p->seq < sent_again[p->sender])
            sent_again[p->sender] = p->seq;
    }
}

/* ---- FINs ------------------------------------------------------------------------------------ */

/* Are bytes missing before FIN I, as far as is known when it is sent? Then some of them were sent
 * again before, and are not acknowledged yet. */
static bool is_behind_hole(const struct conversation *c, int i)
{
    const struct packet *fin = c->packet[i];
    int64_t acked = ABSENT;
    bool hole = false;

    for (int j = 0; j < i; j++) {
        const struct packet *p = c->packet[j];

        if (p->sender != fin->sender && p->ack > acked)
            acked = p->ack;
        if (p->sender == fin->sender && waited(p) && !(p->flags & SYN))
            hole = p->end > acked;
    }
    return hole;
}

/* The packet at which the receiver of FIN I has it, and all that was sent before it. */
static int find_hearing(const struct conversation *c, int i)
{
    const struct packet *fin = c->packet[i];
    int heard = is_behind_hole(c, i) ? NEVER : i;

    for (int j = i + 1; j < c->count; j++) {
        const struct packet *p = c->packet[j];

        if (is_reset(p) || p->icmp != NULL)
            continue;
        if (p->sender == fin->sender) {
            if (waited(p) && p->end <= fin->end)
                heard = j; /* only this one may have filled the hole */
        } else if (p->ack != ABSENT && p->ack >= fin->end)
            return heard == NEVER ? i : heard;
        else if (p->flags & FIN)
            heard = j; /* the peer has closed before it heard this: the FINs crossed */
    }
    return heard > i ? NEVER : i; /* not acknowledged: if it was sent again, it was not heard */
}

static void find_fins(struct conversation *c)
{
    int fins = 0;

    for (int i = 0; i < c->count && fins < MOST_FINS; i++) {
        struct packet *p = c->packet[i];

        if (!(p->flags & FIN) || is_reset(p) || p->icmp != NULL)
            continue;
        p->heard = find_hearing(c, i);
        fins++;
    }
}

/* An ICMP error says that the packet which it quotes has not reached its receiver. */
static void find_unreached(struct conversation *c)
{
    for (int i = 0; i < c->count; i++) {
        const struct packet *error = c->packet[i];

        if (error->icmp == NULL)
            continue;
        for (int j = i - 1; j >= 0 && j >= i - LOOK_BACK; j--) {
            struct packet *p = c->packet[j];

            if (p->icmp != NULL || p->sender != error->sender || p->seq != error->seq)
                continue;
            p->lost = true;
            p->heard = NEVER;
            break;
        }
    }
}

/* ---- holes ----------------------------------------------------------------------------------- */

/* What an end is seen to have sent, and acknowledged. */
struct seen {
    int64_t sent_to;      /* ABSENT: who knows */
    bool acks;            /* it has acknowledged something that its peer has sent */
    int64_t missing_from; /* bytes of it are missing from here ... */
    int64_t missing_to;   /* ... to here, and */
    struct packet *tells; /* this packet tells it; NULL if nothing is missing */
};

/* Bytes that are missing as far as was seen when TELLS came. */
static void miss(struct seen *seen, int64_t missing_to, struct packet *tells)
{
    if (seen->tells != NULL && seen->tells->hole)
        return; /* said already */
    seen->missing_from = seen->sent_to;
    seen->missing_to = missing_to;
    seen->tells = tells;
}

/* Bytes that come later after all were sent again, or recorded late. */
static void take_sent(struct seen *seen, struct packet *p)
{
    const bool is_gap = seen->sent_to != ABSENT && p->seq > seen->sent_to;

    if (p->flags & SYN) { /* all begins anew */
        seen->sent_to = p->end;
        seen->tells = NULL;
        return;
    }
    if (seen->tells != NULL && p->seq >= seen->missing_from && p->seq < seen->missing_to) {
        seen->tells->hole = false;
        seen->tells = NULL;
    }
    if (is_gap)
        miss(seen, p->seq, p); /* if the peer acknowledges P as well */
    if (p->end > seen->sent_to)
        seen->sent_to = p->end;
}

/* A packet that acknowledges what its peer is not seen to have sent, or a RST beyond all that its
 * sender is seen to have sent, tells that packets are missing in the recording. */
static void find_holes(struct conversation *c)
{
    struct seen seen[ENDS] = { { .sent_to = ABSENT }, { .sent_to = ABSENT } };

    for (int i = 0; i < c->count; i++) {
        struct packet *p = c->packet[i];
        struct seen *me = &seen[p->sender];
        struct seen *peer = &seen[!p->sender];
        const bool knows = me->acks && p->ack != ABSENT;
        const bool acks_unseen = peer->sent_to != ABSENT && p->ack > peer->sent_to;
        const bool resets_unseen = is_reset(p) && me->sent_to != ABSENT && p->seq > me->sent_to;

        if (p->icmp != NULL || p->stray)
            continue;
        if (p->ack != ABSENT && peer->sent_to != ABSENT && !acks_unseen)
            me->acks = true;
        if (peer->tells != NULL && p->ack != ABSENT && p->ack > peer->missing_to)
            peer->tells->hole = true;
        if (knows && (acks_unseen || resets_unseen)) {
            if (acks_unseen)
                miss(peer, p->ack, p);
            p->hole = true;
            me->sent_to = ABSENT; /* who knows what else was there */
            peer->sent_to = ABSENT;
        } else if (has_bytes(p))
            take_sent(me, p);
    }
}

/* A recording that has the SYN, ACK and the end, but not one pure ACK, was filtered. */
static void find_filter(struct conversation *c)
{
    bool has_syn_ack = false;
    bool has_ack = false;
    bool has_end = false;

    for (int i = 0; i < c->count; i++) {
        const struct packet *p = c->packet[i];

        if ((p->flags & (SYN | FIN | RST)) == 0)
            has_ack = true;
        if (p->flags & SYN && p->flags & ACK)
            has_syn_ack = true;
        if (p->flags & FIN)
            has_end = true;
    }
    c->filtered = has_syn_ack && has_end && !has_ack;
}

/* ---- the round trip -------------------------------------------------------------------------- */

/* Of the handshake: from SYN to SYN, ACK, or from there to the ACK, wherever it was recorded. */
static void find_round_trip(struct conversation *c)
{
    int64_t began = ABSENT;
    int64_t longest = 0;
    bool answered[ENDS] = { false, false };

    for (int i = 0; i < c->count; i++) {
        const struct packet *p = c->packet[i];

        if (p->icmp != NULL || is_reset(p))
            continue;
        if (began != ABSENT && p->ack != ABSENT && !answered[p->sender]) {
            if (p->time - began > longest)
                longest = p->time - began;
            answered[p->sender] = true;
        }
        if (p->flags & SYN)
            began = p->time;
        if (answered[CLIENT] && answered[SERVER])
            break;
    }
    if (longest == 0 || longest > SLOWEST)
        longest = USUAL;
    c->round_trip = longest + longest / 2 + SLACK; /* half of it more, for no two trips are alike */
}

/* ---- what a RST differs in ------------------------------------------------------------------- */

static void find_evidence(struct conversation *c)
{
    int ttl[ENDS] = { -1, -1 };
    int id[ENDS] = { -1, -1 };

    for (int i = 0; i < c->count; i++) {
        struct packet *p = c->packet[i];
        const int me = p->sender;

        p->other_ttl = -1;
        p->other_id = -1;
        if (p->icmp != NULL)
            continue;
        if (!is_reset(p)) {
            ttl[me] = p->ttl;
            if (p->id > 0)
                id[me] = p->id;
            continue;
        }
        if (ttl[me] >= 0 && p->ttl >= 0 && ttl[me] != p->ttl)
            p->other_ttl = (int16_t)ttl[me];
        if (id[me] > 0 && p->id > 0 && (uint16_t)(p->id - id[me]) > NEAR_ID)
            p->other_id = id[me];
    }
}

void find_heard(struct conversation *c)
{
    find_again(c);
    find_heard_acks(c);
    find_fins(c);
    find_unreached(c);
    find_holes(c);
    find_filter(c);
    find_round_trip(c);
    find_evidence(c);
}
