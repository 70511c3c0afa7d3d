/* whose.c - sorts packets into conversations.
 *
 * In: all packets, in the order in which they were recorded. Out: conversations, each with its
 * packets in the order in which they were sent, as far as that can be told, and with numbers that
 * go on after 2^32. A packet belongs to the conversation of its ends whose numbers are nearest: so
 * late packets of an older connection find theirs, and one stray packet spoils nothing.
 *
 * Left out are copies: "-i any", a mirror or a bridge shows one packet more than once. Two
 * conversations that are one, before and behind NAT, stay two, and the second says so.
 */
#include "ladder.h"

#include <stdlib.h>

enum {
    WINDOW = 1 << 20,     /* numbers so near are of one connection: few windows are larger */
    OLDER = 8,            /* so many older conversations of the same ends may get late packets */
    COPIED = 10000,       /* microseconds between two views of one packet, at most; ... */
    LOOK_BACK = 32,       /* ... and so many packets may stand between them */
    FORWARDED = 500000    /* microseconds: NAT passes a SYN on sooner; it comes again after 1 s */
};

#define ROUND (INT64_C(1) << 32) /* sequence numbers go round */

/* A conversation, and what is only needed to find its packets. */
struct thread {
    struct conversation c;       /* first, so that a pointer to it is a pointer to this */
    struct thread *older;        /* the one before it of the same ends */
    struct thread *merged;       /* it has turned out to be part of this one; else NULL */
    int64_t near[ENDS];          /* the latest number of each end, or ABSENT */
    int64_t first[ENDS];         /* the number of each end's SYN, else its first; or ABSENT */
    struct packet *far;          /* the latest packet, if it was far from all others */
    bool has_syn[ENDS];
    bool only_syns;              /* nothing but bare SYNs of one end */
    bool ids_change[ENDS];       /* the IP ids of this end differ from packet to packet */
    int32_t latest_id[ENDS];
};

/* ---- numbers --------------------------------------------------------------------------------- */

/* How far NUMBER, of the wire, is from NEAR: less than 2^31 either way. */
static int64_t away(int64_t number, int64_t near)
{
    return (int32_t)((uint32_t)number - (uint32_t)near);
}

static int64_t distance(int64_t number, int64_t near)
{
    if (number == ABSENT)
        return 0;
    if (near == ABSENT)
        return WINDOW; /* who knows: farther than what is near, nearer than what is not */
    return llabs(away(number, near));
}

/* NUMBER as it goes on from NEAR. */
static int64_t unwrapped(int64_t number, int64_t near)
{
    if (number == ABSENT || near == ABSENT)
        return number;
    return near + away(number, near);
}

bool is_bare_syn(const struct packet *p)
{
    return (p->flags & (SYN | ACK | RST)) == SYN && p->icmp == NULL && !p->stray;
}

bool is_reset(const struct packet *p)
{
    return p->flags & RST && p->icmp == NULL;
}

bool has_bytes(const struct packet *p)
{
    return p->seq != ABSENT && p->end > p->seq && !(p->flags & RST) && p->icmp == NULL;
}

static int sender_in(const struct thread *t, const struct packet *p)
{
    return t->c.end[CLIENT] == p->from ? CLIENT : SERVER;
}

/* A RST to a packet without ACK has no number of its own: RFC 9293, 3.10.7.1, seq 0. */
static bool answers_unknown(const struct packet *p)
{
    return p->flags & RST && p->flags & ACK && p->seq == 0;
}

static int64_t distance_from(const struct thread *t, const struct packet *p)
{
    const int me = sender_in(t, p);
    int64_t sum = distance(p->ack, t->near[!me]);

    if (!answers_unknown(p))
        sum += distance(p->seq, t->near[me]);
    return sum;
}

/* ---- which conversation ---------------------------------------------------------------------- */

static int port(const char *end)
{
    const char *dot = end;

    for (const char *s = end; *s != '\0'; s++)
        if (*s == '.')
            dot = s + 1;
    return atoi(dot);
}

/* Another conversation of the ends of P, which is its first packet. */
static struct thread *begin(struct thread *older, const struct packet *p)
{
    struct thread *t = checked(calloc(1, sizeof *t));
    bool from_client = port(p->from) >= port(p->to); /* a guess: servers have low ports */

    if (p->flags & SYN && !(p->flags & RST))
        from_client = is_bare_syn(p);
    else
        t->c.guessed = true;
    t->c.end[CLIENT] = from_client ? p->from : p->to;
    t->c.end[SERVER] = from_client ? p->to : p->from;
    t->c.begin = p->time;
    t->older = older;
    t->only_syns = true;
    for (int e = 0; e < ENDS; e++) {
        t->near[e] = ABSENT;
        t->first[e] = ABSENT;
        t->latest_id[e] = -1;
    }
    return t;
}

/* The conversation of a SYN: NEWEST if it comes again, if both ends open, or if the SYN, ACK was
 * recorded before it; else NULL: it opens another. */
static struct thread *of_syn(struct thread *newest, const struct packet *p)
{
    const int me = sender_in(newest, p);

    if (newest->has_syn[me])
        return away(p->seq, newest->first[me]) == 0 ? newest : NULL;
    if (newest->has_syn[!me] && newest->near[me] != ABSENT)
        return away(p->seq + 1, newest->near[me]) == 0 ? newest : NULL;
    return newest->has_syn[!me] ? newest : NULL;
}

/* Does P acknowledge just what the SYN of T took? */
static bool answers(const struct thread *t, const struct packet *p)
{
    const int peer = !sender_in(t, p);

    return p->ack != ABSENT && t->near[peer] != ABSENT && away(p->ack, t->near[peer]) == 0;
}

/* The conversation of P, no bare SYN: of NEWEST and the older ones, the one that is nearest. */
static struct thread *nearest(struct thread *newest, const struct packet *p)
{
    struct thread *best = newest;
    int64_t least = distance_from(newest, p);
    int looked_at = 0;

    if (newest->only_syns && answers(newest, p))
        return newest;

    for (struct thread *t = newest->older; t != NULL && looked_at < OLDER; t = t->older) {
        const int64_t far = distance_from(t, p);

        if (far < least) {
            least = far;
            best = t;
        }
        looked_at++;
    }
    return best;
}

static struct thread *find_thread(struct slot *slot, const struct packet *p)
{
    struct thread *newest = slot->thing;
    struct thread *t = NULL;

    if (newest == NULL)
        return slot->thing = begin(NULL, p);
    if (p->icmp != NULL)
        return nearest(newest, p);
    if (is_bare_syn(p)) {
        t = of_syn(newest, p);
        return t != NULL ? t : (slot->thing = begin(newest, p));
    }
    t = nearest(newest, p);
    if (t != newest && newest->only_syns) {
        const int opener = newest->has_syn[CLIENT] ? CLIENT : SERVER;

        if (newest->c.end[opener] != p->from)
            newest->c.has_older = true; /* it answers for the older one */
        else if (!(p->flags & RST)) { /* RFC 5961: a blind SYN opens nothing */
            newest->merged = t;
            slot->thing = t;
        }
    } else if (t == newest && p->flags & SYN && distance_from(t, p) > WINDOW && !t->only_syns)
        t = slot->thing = begin(newest, p); /* a SYN, ACK of a connection whose SYN is not there */
    return t;
}

/* ---- copies ---------------------------------------------------------------------------------- */

static bool same_content(const struct packet *p, const struct packet *q)
{
    return p->from == q->from && p->flags == q->flags && p->seq == q->seq && p->end == q->end &&
           p->ack == q->ack && p->icmp == q->icmp;
}

/* Is P, just read, another view of Q, which says the same? UNANSWERED: the peer has said nothing in
 * between. Where neither IP id nor interface tells: no TCP sends a SYN again so soon, and if one
 * packet came twice, others do. */
static bool is_view(const struct thread *t, const struct packet *p, const struct packet *q,
                    bool unanswered)
{
    if (p->id > 0 && q->id > 0 && t->ids_change[p->sender])
        return p->id == q->id;
    if (p->view != NULL && q->view != NULL)
        return p->view != q->view;
    return unanswered && (is_bare_syn(p) || t->c.copies > 0);
}

/* Is packet I a copy of one before it, of conversation T? */
static bool is_copy(const struct thread *t, const struct packet *packets, struct thread **owner,
                    size_t i)
{
    const struct packet *p = &packets[i];
    bool unanswered = true;

    for (size_t back = 1; back <= LOOK_BACK && back <= i; back++) {
        const struct packet *q = &packets[i - back];

        if (p->time - q->time > COPIED)
            return false;
        if (owner[i - back] != t)
            continue;
        if (same_content(p, q))
            return is_view(t, p, q, unanswered);
        if (q->from != p->from)
            unanswered = false;
    }
    return false;
}

/* ---- taking a packet ------------------------------------------------------------------------- */

/* Makes the numbers of P go on from those of T. */
static void unwrap(const struct thread *t, struct packet *p)
{
    const int64_t length = p->end == ABSENT ? 0 : (uint32_t)(p->end - p->seq);

    if (answers_unknown(p))
        p->seq = ABSENT;
    p->seq = unwrapped(p->seq, t->near[p->sender]);
    p->end = p->seq == ABSENT ? ABSENT : p->seq + length;
    p->ack = unwrapped(p->ack, t->near[!p->sender]);
}

/* Remembers the numbers of P, no RST. */
static void take_numbers(struct thread *t, const struct packet *p)
{
    const int me = p->sender;

    if (p->flags & SYN) {
        t->has_syn[me] = true;
        t->first[me] = p->seq;
        t->near[me] = p->end;
    } else if (p->seq != ABSENT && p->end > t->near[me])
        t->near[me] = p->end;
    if (p->ack != ABSENT && p->ack > t->near[!me])
        t->near[!me] = p->ack;
    if (t->first[me] == ABSENT)
        t->first[me] = p->seq;
    if (t->first[!me] == ABSENT)
        t->first[!me] = p->ack;
}

/* The number of end E that P shows. */
static int64_t number_of(const struct packet *p, int e)
{
    return p->sender == e ? p->end : p->ack;
}

static int64_t distance_between(const struct packet *p, const struct packet *q)
{
    return distance(number_of(p, CLIENT), number_of(q, CLIENT)) +
           distance(number_of(p, SERVER), number_of(q, SERVER));
}

/* T has gone on to the numbers of P: forward, for what lies between was not recorded. */
static void leap(struct thread *t, struct packet *p)
{
    for (int e = 0; e < ENDS; e++) {
        const int64_t number = unwrapped(number_of(p, e), t->near[e]);

        if (number != ABSENT)
            t->near[e] = number < t->near[e] - WINDOW ? number + ROUND : number;
    }
    unwrap(t, p);
    take_numbers(t, p);
}

/* P is far from all others of T: is it an old or forged packet, or are packets missing in between?
 * The one that comes next tells: if it is near P, the connection has gone on from there. */
static bool is_stray(struct thread *t, struct packet *p)
{
    const bool is_opening = t->has_syn[CLIENT] != t->has_syn[SERVER];
    const bool is_far = distance_from(t, p) > 2 * (int64_t)WINDOW;
    struct packet *far = t->far;

    if (!is_far || is_opening || p->flags & (SYN | RST)) {
        t->far = NULL;
        return false;
    }
    t->far = p;
    if (far == NULL || distance_between(far, p) > 2 * (int64_t)WINDOW)
        return true;
    far->stray = false;
    leap(t, far);
    return false;
}

/* Does P answer the SYN of T with the numbers of an older connection, which was not recorded? */
static bool is_of_older(const struct thread *t, const struct packet *p)
{
    const int me = p->sender;
    const bool is_asked = t->has_syn[!me] && !t->has_syn[me];

    return is_asked && !(p->flags & SYN) && !answers(t, p);
}

static void take(struct thread *t, struct packet *p)
{
    const int me = sender_in(t, p);

    p->sender = (uint8_t)me;
    if (p->icmp == NULL)
        p->stray = is_stray(t, p);
    unwrap(t, p);
    if (!(p->flags & RST) && p->icmp == NULL && !p->stray && !is_of_older(t, p))
        take_numbers(t, p);
    t->c.count++;
    if (p->icmp == NULL && !is_bare_syn(p))
        t->only_syns = false;
    if (p->id > 0 && t->latest_id[me] > 0 && p->id != t->latest_id[me])
        t->ids_change[me] = true;
    if (p->id > 0)
        t->latest_id[me] = p->id;
}

/* ---- order ----------------------------------------------------------------------------------- */

static void move(struct packet **packet, int from, int to)
{
    struct packet *moved = packet[from];

    for (int i = from; i > to; i--)
        packet[i] = packet[i - 1];
    packet[to] = moved;
}

/* A SYN that was recorded behind its SYN, ACK is put before it; bytes that were recorded just
 * behind the RST that their sender sent after them are put before that. */
static void put_in_order(struct conversation *c)
{
    if (!is_bare_syn(c->packet[0]))
        for (int i = 1; i < c->count && c->packet[i]->time - c->begin <= SWAPPED; i++)
            if (is_bare_syn(c->packet[i])) {
                move(c->packet, i, 0);
                break;
            }
    for (int i = 1; i < c->count; i++) {
        const struct packet *p = c->packet[i];
        const struct packet *before = c->packet[i - 1];

        if (before->flags & RST && before->sender == p->sender && !(p->flags & (RST | SYN)) &&
            p->time - before->time <= SWAPPED && p->seq != ABSENT && p->seq < before->seq &&
            p->end == before->seq)
            move(c->packet, i, i - 1);
    }
}

/* ---- views of one conversation, before and behind NAT ---------------------------------------- */

/* Is number FIRST of end E of T the one that OTHER has there? The SYN's, or, if T has none, the one
 * at which OTHER is. */
static bool fits(const struct thread *t, const struct thread *other, int e)
{
    const int64_t theirs = t->has_syn[e] ? other->first[e] : other->near[e];

    return t->first[e] != ABSENT && theirs != ABSENT && away(t->first[e], theirs) == 0;
}

/* Is T the same connection as OTHER? One end is the same, and so are the numbers of both. A RST
 * that has left NAT alone shows one number, or two, that lie between those of OTHER. */
static bool is_same(const struct thread *t, const struct thread *other)
{
    const bool same_client = t->c.end[CLIENT] == other->c.end[CLIENT];
    const bool same_server = t->c.end[SERVER] == other->c.end[SERVER];
    const bool is_lone_reset = t->c.count == 1 && is_reset(t->c.packet[0]);

    if (same_client == same_server)
        return false;
    if (!is_lone_reset)
        return t->c.begin - other->c.begin < FORWARDED && fits(t, other, CLIENT) &&
               fits(t, other, SERVER);
    for (int e = 0; e < ENDS; e++) {
        const struct packet *p = t->c.packet[0];
        const int64_t number = p->sender == e ? p->seq : p->ack;

        if (number == ABSENT)
            continue;
        if (other->first[e] == ABSENT || away(number, other->first[e]) < 0)
            return false;
        if (away(number, other->near[e]) > 0)
            return false;
    }
    return true;
}

/* Looks T up among earlier conversations by one end and the number of the other; remembers it. */
static void find_view(struct table *table, struct thread *t)
{
    for (int e = 0; e < ENDS && t->c.same_as == NULL; e++) {
        const int64_t number = t->has_syn[!e] ? t->first[!e] : t->c.packet[0]->seq;
        struct thread *other;

        if (number == ABSENT)
            continue;
        other = slot_of(table, t->c.end[e], (uint32_t)number)->thing;
        if (other != NULL && other != t && is_same(t, other)) {
            t->c.same_as = &other->c;
            t->c.translated = !e;
        }
    }
    for (int e = 0; e < ENDS; e++) {
        if (t->has_syn[!e])
            slot_of(table, t->c.end[e], (uint32_t)t->first[!e])->thing = t;
        if (t->near[!e] != ABSENT)
            slot_of(table, t->c.end[e], (uint32_t)t->near[!e])->thing = t;
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Gives each conversation its packets; those of a conversation that was taken back go to the one
 * that it was merged into. Returns the first conversation. */
static struct conversation *collect(struct reading *reading, struct thread **owner)
{
    struct conversation *first = NULL;
    struct conversation **end = &first;
    int number = 0;

    for (size_t i = 0; i < reading->count; i++) {
        struct thread *t = owner[i];

        if (t == NULL || t->merged == NULL)
            continue;
        owner[i] = t->merged;
        if (--t->c.count == 0)
            free(t);
        owner[i]->c.count++;
        reading->packets[i].stray = true;
        reading->packets[i].sender = (uint8_t)sender_in(owner[i], &reading->packets[i]);
    }
    for (size_t i = 0; i < reading->count; i++) {
        struct conversation *c = owner[i] == NULL ? NULL : &owner[i]->c;

        if (c == NULL)
            continue;
        if (c->packet == NULL) {
            c->packet = checked(malloc((size_t)c->count * sizeof *c->packet));
            c->count = 0;
            c->number = ++number;
            *end = c;
            end = &c->next;
        }
        c->packet[c->count++] = &reading->packets[i];
    }
    return first;
}

struct conversation *find_conversations(struct reading *reading)
{
    struct table ends = { 0 };
    struct table views = { 0 };
    struct thread **owner = checked(calloc(reading->count + 1, sizeof *owner));
    struct conversation *first;

    for (size_t i = 0; i < reading->count; i++) {
        struct packet *p = &reading->packets[i];
        struct slot *slot = slot_of_ends(&ends, p->from, p->to);
        struct thread *t = find_thread(slot, p);

        take(t, p);
        owner[i] = t;
        if (is_copy(t, reading->packets, owner, i)) {
            owner[i] = NULL;
            t->c.count--;
            t->c.copies++;
        }
    }
    first = collect(reading, owner);
    for (struct conversation *c = first; c != NULL; c = c->next) {
        put_in_order(c);
        find_view(&views, (struct thread *)c);
    }
    free(owner);
    free(ends.slots);
    free(views.slots);
    return first;
}
