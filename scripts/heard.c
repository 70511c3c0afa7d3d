/* heard.c - did a packet reach its receiver, and when?
 *
 * In: a conversation. Out: the part "heard" of its packets, and two facts about all of it: how long
 * a packet may be on the way, and whether a filter has left packets out. What came later tells:
 * what its sender sent again was not heard (or its ACK was not), what the peer acknowledges was,
 * and a FIN is heard when all that was sent before it is there. What becomes of a RST depends on
 * its receiver's state: resets.c.
 */
#include "ladder.h"

#include <stdlib.h>
#include <string.h>

enum {
    USUAL = 200000,    /* microseconds on the way, if no handshake tells */
    SLACK = 2000,      /* a receiver that is busy for so long has lost no packet */
    LOOK_BACK = 64,    /* packets: an ICMP error comes before many others are sent */
    MOST_FINS = 64     /* in one conversation; TCP sends two, and each some times again */
};

/* ---- what was sent again --------------------------------------------------------------------- */

/* What an end has sent and acknowledged. */
struct sent {
    int64_t to;      /* the number after the last */
    int64_t acked;   /* the peer has acknowledged so far */
    int64_t ack;     /* the latest that it has acknowledged itself */
    int64_t *begins; /* first numbers of the packets that took room, sorted */
    int count;
};

/* Has an earlier packet begun within P? If none has, remembers where P begins. */
static bool has_begun_within(struct sent *sent, const struct packet *p)
{
    int low = 0;
    int high = sent->count;

    while (low < high) {
        const int middle = low + (high - low) / 2;

        if (sent->begins[middle] < p->seq)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < sent->count && sent->begins[low] < p->end)
        return true;
    for (int i = sent->count; i > low; i--) /* what fills a gap: seldom far from the end */
        sent->begins[i] = sent->begins[i - 1];
    sent->begins[low] = p->seq;
    sent->count++;
    return false;
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
        const bool acks_more = p->ack > mine->ack;
        const bool is_last = p->seq != ABSENT && p->seq + 1 == mine->to;

        if (p->icmp != NULL || is_reset(p) || p->stray)
            continue;
        if (p->ack > sent[!p->sender].acked)
            sent[!p->sender].acked = p->ack;
        if (acks_more)
            mine->ack = p->ack;
        /* A probe of keep-alive (RFC 9293, 3.8.4): the last number, which was acknowledged, to make
         * the peer answer. Linux sends no byte with it. */
        if (!has_bytes(p)) {
            p->keep_alive = is_last;
            continue;
        }
        p->keep_alive = is_last && p->size == 1 && p->end <= mine->acked;
        p->again = has_begun_within(mine, p) && p->end <= mine->to;
        if (p->end > mine->to)
            mine->to = p->end;
        /* BSD and macOS send each ACK in CLOSING with the FIN: that is no FIN again. */
        if (p->flags & FIN && acks_more && p->size == 0)
            p->again = false;
    }
    for (int e = 0; e < ENDS; e++)
        free(sent[e].begins);
}

/* Was P sent again because its sender waited in vain? */
static bool has_waited(const struct packet *p)
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

        p->heard_ack = p->ack > limit ? limit : p->ack;
        if (is_bare_syn(p)) { /* all begins anew */
            sent_again[CLIENT] = INT64_MAX;
            sent_again[SERVER] = INT64_MAX;
        } else if (has_waited(p) && p->seq < sent_again[p->sender])
            sent_again[p->sender] = p->seq;
    }
}

/* ---- FINs ------------------------------------------------------------------------------------ */

/* Does the receiver of FIN I lack bytes before it, when it is sent? Some were sent again, and have
 * not been acknowledged since. */
static bool is_behind_lost_bytes(const struct conversation *c, int i)
{
    const struct packet *fin = c->packet[i];
    int64_t acked = ABSENT;
    int64_t sent_again = ABSENT;

    for (int j = 0; j < i; j++) {
        const struct packet *p = c->packet[j];

        if (p->sender != fin->sender && p->ack > acked)
            acked = p->ack;
        if (p->sender == fin->sender && has_waited(p) && p->end > sent_again)
            sent_again = p->end;
    }
    return sent_again > acked;
}

/* The packet at which the receiver of FIN I has it, and all that was sent before it; NEVER. */
static int find_hearing(const struct conversation *c, int i)
{
    const struct packet *fin = c->packet[i];
    int heard = is_behind_lost_bytes(c, i) ? NEVER : i;

    for (int j = i + 1; j < c->count; j++) {
        const struct packet *p = c->packet[j];

        if (is_reset(p) || p->icmp != NULL || p->stray)
            continue;
        if (p->sender == fin->sender) {
            if (has_waited(p))
                heard = j; /* perhaps only this one has come */
        } else if (p->ack >= fin->end)
            return heard == NEVER ? i : heard;
        else if (p->flags & FIN)
            heard = j; /* the peer has closed before it heard this: the FINs crossed */
    }
    return heard == i ? i : NEVER; /* not acknowledged, and something speaks against it */
}

static void find_fins(struct conversation *c)
{
    int fins = 0;

    for (int i = 0; i < c->count; i++) {
        struct packet *p = c->packet[i];

        p->heard = NEVER;
        if (!(p->flags & FIN) || is_reset(p) || p->icmp != NULL || fins == MOST_FINS)
            continue;
        p->heard = find_hearing(c, i);
        fins++;
    }
}

/* RFC 792: with these a router asks for another way, or for less; it has passed the packet on. */
static bool is_advice(const struct packet *error)
{
    return strcmp(error->icmp, "redirect") == 0 || strcmp(error->icmp, "source quench") == 0;
}

/* Another ICMP error says that the packet which it quotes has not reached its receiver. */
static void find_unreached(struct conversation *c)
{
    for (int i = 0; i < c->count; i++) {
        const struct packet *error = c->packet[i];

        if (error->icmp == NULL || is_advice(error))
            continue;
        for (int j = i - 1; j >= 0 && j >= i - LOOK_BACK; j--) {
            struct packet *p = c->packet[j];

            if (p->icmp != NULL || p->seq != error->seq)
                continue;
            p->unreached = true;
            p->heard = NEVER;
            break;
        }
    }
}

/* ---- holes in the recording ------------------------------------------------------------------ */

/* What is seen of an end. */
struct seen {
    int64_t sent_to;      /* the number after the last that it has sent; ABSENT: who knows */
    bool acks;            /* it has acknowledged something that its peer is seen to have sent */
    int64_t missing_from; /* bytes of it that are missing as far as was seen: from here */
    int64_t missing_to;   /* to here */
    struct packet *tells; /* the packet that shows it; NULL: none are missing */
};

/* Bytes are missing up to MISSING_TO, as P shows. */
static void miss(struct seen *seen, int64_t missing_to, struct packet *p)
{
    seen->missing_from = seen->sent_to;
    seen->missing_to = missing_to;
    seen->tells = p;
}

/* P has bytes. If they were missing, they were only sent again, or recorded late. If there is a gap
 * before them, that is a hole once the peer acknowledges P: it has seen what was in the gap. */
static void see_bytes(struct seen *seen, struct packet *p)
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
        miss(seen, p->seq, p);
    if (p->end > seen->sent_to)
        seen->sent_to = p->end;
}

/* A packet that acknowledges what its peer is not seen to have sent, or a RST beyond all that its
 * sender is seen to have sent, tells that packets are missing in the recording. */
static void see_packet(struct packet *p, struct seen *me, struct seen *peer)
{
    const bool acks_unseen = peer->sent_to != ABSENT && p->ack > peer->sent_to;
    const bool resets_unseen = is_reset(p) && me->sent_to != ABSENT && p->seq > me->sent_to;

    if (p->ack != ABSENT && peer->sent_to != ABSENT && !acks_unseen)
        me->acks = true;
    if (peer->tells != NULL && p->ack > peer->missing_to)
        peer->tells->hole = true;
    if (me->acks && p->ack != ABSENT && (acks_unseen || resets_unseen)) {
        if (acks_unseen)
            miss(peer, p->ack, p);
        p->hole = true;
        me->sent_to = ABSENT; /* who knows what else was there */
        peer->sent_to = ABSENT;
    } else if (has_bytes(p))
        see_bytes(me, p);
}

static void find_holes(struct conversation *c)
{
    struct seen seen[ENDS] = { { .sent_to = ABSENT }, { .sent_to = ABSENT } };

    for (int i = 0; i < c->count; i++) {
        struct packet *p = c->packet[i];

        if (p->icmp == NULL && !p->stray)
            see_packet(p, &seen[p->sender], &seen[!p->sender]);
    }
}

/* A recording of the SYN, ACK and a FIN, but of no data and no pure ACK, was filtered: a FIN that
 * was acknowledged has at least one. */
static void find_filter(struct conversation *c)
{
    bool has_syn_ack = false;
    bool has_fin = false;

    c->filtered = false;
    for (int i = 0; i < c->count; i++) {
        const struct packet *p = c->packet[i];

        if (p->icmp != NULL)
            continue;
        if ((p->flags & (SYN | FIN | RST)) == 0)
            return;
        if (p->flags & SYN && p->flags & ACK)
            has_syn_ack = true;
        if (p->flags & FIN)
            has_fin = true;
    }
    c->filtered = has_syn_ack && has_fin;
}

/* ---- how long a packet may be on the way ----------------------------------------------------- */

/* From the handshake: the time from SYN to SYN, ACK, or from there to the ACK. One of the two is
 * the round trip, wherever it was recorded. */
static void find_time_on_the_way(struct conversation *c)
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
    if (longest == 0)
        longest = USUAL;
    c->on_the_way = longest + longest / 2 + SLACK; /* half of it more: no two trips are alike */
}

void find_heard(struct conversation *c)
{
    find_again(c);
    find_heard_acks(c);
    find_fins(c);
    find_unreached(c);
    find_holes(c);
    find_filter(c);
    find_time_on_the_way(c);
}
