/* states.c - the state of each end after each packet, in the words of RFC 9293.
 *
 * In: a conversation of which is known what was heard. Out: the part "states" of its packets, and
 * how it ended. All packets are known before the first is played: so what an end does later tells
 * what it has seen, even if that was not recorded. What becomes of a RST: resets.c.
 */
#include "ladder.h"

#include <stdlib.h>
#include <string.h>

/* ---- RFC 9293, figure 5 ---------------------------------------------------------------------- */

enum event { SENDS_SYN_ACK, SHOWS_OPEN, SENDS_FIN, HEARS_ACK_OF_SYN, HEARS_FIN, HEARS_ACK_OF_FIN };

static const struct {
    enum state from;
    enum event event;
    enum state to;
} transitions[] = {
    { SILENT, SENDS_SYN_ACK, SYN_RECEIVED },
    { CLOSED, SENDS_SYN_ACK, SYN_RECEIVED },
    { UNKNOWN, SENDS_SYN_ACK, SYN_RECEIVED },
    { SYN_SENT, HEARS_ACK_OF_SYN, ESTABLISHED },
    { SYN_RECEIVED, HEARS_ACK_OF_SYN, ESTABLISHED },
    { UNKNOWN, HEARS_ACK_OF_SYN, ESTABLISHED },
    { SYN_SENT, SHOWS_OPEN, ESTABLISHED }, /* it has seen an answer that was not recorded */
    { SYN_RECEIVED, SHOWS_OPEN, ESTABLISHED },
    { UNKNOWN, SHOWS_OPEN, ESTABLISHED },
    { ESTABLISHED, SENDS_FIN, FIN_WAIT_1 },
    { CLOSE_WAIT, SENDS_FIN, LAST_ACK },
    { SYN_RECEIVED, HEARS_FIN, CLOSE_WAIT },
    { ESTABLISHED, HEARS_FIN, CLOSE_WAIT },
    { UNKNOWN, HEARS_FIN, CLOSE_WAIT },
    { FIN_WAIT_1, HEARS_FIN, CLOSING },
    { FIN_WAIT_2, HEARS_FIN, TIME_WAIT },
    { FIN_WAIT_1, HEARS_ACK_OF_FIN, FIN_WAIT_2 },
    { CLOSING, HEARS_ACK_OF_FIN, TIME_WAIT },
    { LAST_ACK, HEARS_ACK_OF_FIN, CLOSED },
};

/* Where the table has no line, nothing changes. */
static void step(struct end *end, enum event event)
{
    for (size_t i = 0; i < sizeof transitions / sizeof *transitions; i++)
        if (transitions[i].from == end->state && transitions[i].event == event) {
            end->state = transitions[i].to;
            return;
        }
}

const char *state_name(enum state state)
{
    static const char *const names[] = {
        "?", "not recorded", "silent", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
        "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT", "CLOSED", ""
    };

    return names[state];
}

static bool is_closed(const struct outcome *outcome, int e)
{
    const enum state state = outcome->end[e].state;

    if (state == NOT_RECORDED)
        return outcome->reset != -1;
    return state == CLOSED || state == TIME_WAIT;
}

bool is_over(const struct outcome *outcome)
{
    if (outcome->itself)
        return true;
    if (outcome->gave_up)
        return is_closed(outcome, CLIENT);
    return is_closed(outcome, CLIENT) && is_closed(outcome, SERVER);
}

/* ---- what is known before the first packet --------------------------------------------------- */

static void look_at_packet(struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const int me = p->sender;

    if (is_bare_syn(p)) {
        play->last_syn = i;
        if (play->syn_ack[!me] >= 0)
            play->syn_missed = true;
    } else if (p->flags & SYN) {
        if (play->syn_ack[me] >= 0 && play->last_ack[!me] >= 0)
            play->ack_missed = true;
        play->syn_ack[me] = i;
    }
    if (p->ack != ABSENT)
        play->last_ack[me] = i;
}

/* A bare RST to a SYN, ACK comes from an end that knows nothing of the SYN: RFC 9293, 3.10.7.1. */
static void look_at_reset(struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const int syn_ack = play->syn_ack[!p->sender];
    const bool has_spoken = play->last_ack[p->sender] >= 0;

    if (p->flags & ACK || has_spoken || syn_ack < 0)
        return;
    if (p->seq == play->c->packet[syn_ack]->ack)
        play->outcome.answers_syn_ack = true;
}

/* Has end E sent nothing that is there, although its peer has heard it? */
static bool is_not_recorded(const struct conversation *c, int e)
{
    bool is_heard = false;

    for (int i = 0; i < c->count; i++) {
        const struct packet *p = c->packet[i];

        if (p->icmp != NULL)
            continue;
        if (p->sender == e)
            return false;
        if (p->ack != ABSENT && !is_reset(p))
            is_heard = true;
    }
    return is_heard;
}

static const struct later nothing = {
    .next = -1, .last = -1, .until = -1, .next_reset = -1, .ack = ABSENT, .end = ABSENT
};

static void add_to_later(struct later later[ENDS], const struct packet *p, int i)
{
    struct later *mine = &later[p->sender];

    if (is_reset(p)) {
        mine->next_reset = i;
        later[!p->sender].until = -1;
        return;
    }
    mine->next = i;
    if (mine->last == -1)
        mine->last = i;
    if (mine->until == -1)
        mine->until = i;
    if (p->ack > mine->ack)
        mine->ack = p->ack;
    if (has_bytes(p) && p->end > mine->end)
        mine->end = p->end;
    if (p->flags & SYN)
        mine->opens = true;
}

/* Looks back from the end: what each end sends after each packet. */
static void look_back(struct play *play)
{
    const struct conversation *c = play->c;
    struct later later[ENDS] = { nothing, nothing };

    for (int i = c->count - 1; i >= 0; i--) {
        const struct packet *p = c->packet[i];

        play->later[CLIENT][i] = later[CLIENT];
        play->later[SERVER][i] = later[SERVER];
        if (is_bare_syn(p)) {
            later[CLIENT] = nothing;
            later[SERVER] = nothing;
        } else if (p->icmp == NULL && !p->stray)
            add_to_later(later, p, i);
    }
}

static void prepare(struct play *play)
{
    const struct conversation *c = play->c;
    struct outcome *outcome = &play->outcome;

    play->last_syn = -1;
    for (int e = 0; e < ENDS; e++) {
        play->last_ack[e] = -1;
        play->syn_ack[e] = -1;
        play->later[e] = checked(malloc((size_t)c->count * sizeof *play->later[e]));
    }
    for (int i = 0; i < c->count; i++) {
        if (is_reset(c->packet[i]))
            look_at_reset(play, i);
        else if (c->packet[i]->icmp == NULL)
            look_at_packet(play, i);
    }
    look_back(play);
    outcome->reset = outcome->met = outcome->answer = -1;
    outcome->whole = is_bare_syn(c->packet[0]);
    outcome->itself = c->end[CLIENT] == c->end[SERVER];
    for (int e = 0; e < ENDS; e++) {
        outcome->end[e] = (struct end){ .iss = ABSENT, .snd_nxt = ABSENT, .rcv_nxt = ABSENT,
                                        .fin_end = ABSENT, .spoken = -1, .closes = -1 };
        if (outcome->whole)
            outcome->end[e].state = e == CLIENT ? SYN_SENT : SILENT;
        if (is_not_recorded(c, e))
            outcome->end[e].state = NOT_RECORDED;
    }
    outcome->end[SERVER].has_older = c->has_older;
}

/* ---- sent ------------------------------------------------------------------------------------ */

static void send_syn(struct play *play, const struct packet *p)
{
    struct outcome *outcome = &play->outcome;
    struct end *me = &outcome->end[p->sender];
    struct end *peer = &outcome->end[!p->sender];

    if (p->flags & ACK) {
        step(me, SENDS_SYN_ACK);
        return;
    }
    if (me->state == SILENT) { /* both open at once */
        me->state = SYN_RECEIVED;
        peer->state = SYN_RECEIVED;
    }
    if (me->state == CLOSED) { /* it tries again */
        me->state = SYN_SENT;
        outcome->reset = -1;
        outcome->answer = -1;
    }
}

/* What sending packet I, no SYN and no RST, tells of its sender. */
static void send_rest(struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    struct end *me = &play->outcome.end[p->sender];
    struct end *peer = &play->outcome.end[!p->sender];
    const bool has_data = p->size > 0 || p->flags & FIN;

    if (me->state == SILENT && play->last_ack[!p->sender] >= 0)
        me->state = ESTABLISHED;
    if (me->state == UNKNOWN && p->size > 0 && peer->state == UNKNOWN)
        peer->state = ESTABLISHED;
    if (me->state == SYN_SENT || has_data || play->ack_missed)
        step(me, SHOWS_OPEN);
    if (p->flags & FIN)
        step(me, SENDS_FIN);
}

/* ---- heard ----------------------------------------------------------------------------------- */

bool acknowledges_syn(const struct end *me, const struct packet *p)
{
    return p->ack != ABSENT && p->ack > me->iss && p->ack <= me->snd_nxt; /* 3.10.7.3 */
}

/* What an end in SYN-SENT makes of packet I. */
static void hear_in_syn_sent(struct play *play, int i)
{
    struct packet *p = play->c->packet[i];
    struct end *me = &play->outcome.end[!p->sender];
    const bool goes_on = play->last_ack[!p->sender] >= 0;
    const bool nothing_against = !play->syn_missed && !play->outcome.answers_syn_ack;
    const bool heard = i > play->last_syn && (goes_on || nothing_against);

    if (p->flags & SYN) {
        if (p->flags & ACK && acknowledges_syn(me, p) && heard)
            step(me, HEARS_ACK_OF_SYN);
    } else if (!acknowledges_syn(me, p))
        play->outcome.end[p->sender].has_older = true;
    else if (i < play->syn_ack[p->sender])
        p->note = " ignored"; /* no SYN: 3.10.7.3 */
    else
        step(me, HEARS_ACK_OF_SYN);
}

/* An ACK of a FIN that comes again much later never came. */
static bool never_came(const struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const int64_t fin_end = play->outcome.end[!p->sender].fin_end;

    for (int j = i + 1; j < play->c->count; j++) {
        const struct packet *fin = play->c->packet[j];

        if (fin->sender != p->sender && fin->flags & FIN && fin->end == fin_end)
            return fin->time - p->time > play->c->on_the_way;
    }
    return false;
}

static void hear_ack_of_fin(struct play *play, int i)
{
    struct packet *p = play->c->packet[i];
    struct end *me = &play->outcome.end[!p->sender];

    if (me->fin_end == ABSENT || p->ack == ABSENT || p->ack < me->fin_end)
        return;
    if (p->heard_ack >= me->fin_end)
        step(me, HEARS_ACK_OF_FIN);
    else if (never_came(play, i))
        p->lost = true;
}

/* What the receiver of packet I, no RST, makes of it; FINs: hear_fins(). */
static void hear(struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    struct end *me = &play->outcome.end[!p->sender];
    const bool acks_syn = me->state == SYN_RECEIVED && !play->ack_missed &&
                          p->heard_ack > me->iss;

    if (me->state == SYN_SENT) {
        hear_in_syn_sent(play, i);
        return;
    }
    if (is_bare_syn(p))
        return;
    if (p->flags & SYN || acks_syn)
        step(me, HEARS_ACK_OF_SYN);
    hear_ack_of_fin(play, i);
}

/* Might this end have a connection, as far as was seen? */
static bool has_connection(const struct end *end)
{
    return end->state == UNKNOWN || end->state == ESTABLISHED || end->state == FIN_WAIT_2;
}

/* Is FIN I answered at once by a bare RST? Then there is no connection any more where it came:
 * RFC 9293, 3.10.7.1. */
static bool meets_nobody(const struct play *play, int i)
{
    const struct packet *fin = play->c->packet[i];
    const struct packet *answer = i + 1 < play->c->count ? play->c->packet[i + 1] : NULL;

    if (answer == NULL || !is_reset(answer) || answer->flags & ACK || answer->sender == fin->sender)
        return false;
    return answer->seq == fin->ack;
}

/* The FINs that are heard when packet I is sent. */
static void hear_fins(struct play *play, int i, const int fin[ENDS])
{
    for (int e = 0; e < ENDS; e++) {
        const struct packet *p = fin[e] == -1 ? NULL : play->c->packet[fin[e]];
        struct end *receiver = &play->outcome.end[!e];

        if (p == NULL || p->heard != i)
            continue;
        if (has_connection(receiver) && meets_nobody(play, i)) {
            receiver->state = CLOSED;
            play->outcome.forgotten = true;
        } else
            step(receiver, HEARS_FIN);
    }
}

/* ---- playing --------------------------------------------------------------------------------- */

/* Remembers the numbers of P, no RST. */
static void take_numbers(struct play *play, const struct packet *p)
{
    struct end *me = &play->outcome.end[p->sender];
    struct end *peer = &play->outcome.end[!p->sender];

    if (p->flags & SYN) {
        me->iss = p->seq;
    }
    if (p->hole) {
        me->snd_nxt = ABSENT;
        peer->snd_nxt = ABSENT;
    }
    if (has_bytes(p) && p->end > me->snd_nxt)
        me->snd_nxt = p->end;
    if (p->ack > me->rcv_nxt)
        me->rcv_nxt = p->ack;
    if (p->ack != ABSENT && peer->fin_end != ABSENT && p->ack >= peer->fin_end)
        peer->fin_acked = true;
    if (p->flags & FIN && me->fin_end == ABSENT) {
        me->fin_end = p->end;
        play->outcome.fins_crossed = peer->fin_end != ABSENT && !peer->fin_acked;
    }
}

static void play_packet(struct play *play, int i)
{
    struct packet *p = play->c->packet[i];
    const struct end *peer = &play->outcome.end[!p->sender];
    const bool opening = peer->state == SYN_SENT && !(p->flags & SYN);
    const bool of_other = opening && (!acknowledges_syn(peer, p) || i < play->syn_ack[p->sender]);

    take_numbers(play, p);
    if (p->flags & SYN)
        send_syn(play, p);
    else if (!of_other)
        send_rest(play, i);
    hear(play, i);
    play->outcome.end[p->sender].spoken = i;
}

static void show(struct play *play, int i, enum state drawn[ENDS])
{
    for (int e = 0; e < ENDS; e++)
        if (play->outcome.end[e].state != drawn[e]) {
            drawn[e] = play->outcome.end[e].state;
            play->c->packet[i]->shown[e] = (uint8_t)drawn[e];
        }
}

/* The ACKs of FINs that a filter has left out. */
static void take_acks_for_granted(struct outcome *outcome)
{
    for (int e = 0; e < ENDS; e++)
        if (outcome->end[e].state == LAST_ACK || outcome->end[e].state == CLOSING)
            step(&outcome->end[e], HEARS_ACK_OF_FIN);
}

struct outcome find_outcome(struct conversation *c)
{
    struct play play = { .c = c };
    struct outcome *outcome = &play.outcome;
    enum state drawn[ENDS] = { SILENT, SILENT }; /* is not drawn */
    int fin[ENDS] = { -1, -1 };
    bool comes_again = false; /* both have closed, and the same packets come once more */

    prepare(&play);
    for (int i = 0; i < c->count; i++) {
        struct packet *p = c->packet[i];

        p->note = "";
        p->lost = p->unreached;
        p->shown[CLIENT] = p->shown[SERVER] = NOT_SHOWN;
        if (is_bare_syn(p) && outcome->end[CLIENT].fin_acked && outcome->end[SERVER].fin_acked)
            comes_again = true;
        if (p->stray)
            p->note = " ignored";
        if (p->icmp != NULL || p->stray || outcome->itself || comes_again)
            continue;
        if (is_reset(p))
            play_reset(&play, i);
        else
            play_packet(&play, i);
        if (p->flags & FIN && !is_reset(p) && !p->again)
            fin[p->sender] = i;
        hear_fins(&play, i, fin);
        for (int e = 0; e < ENDS; e++)
            if (outcome->end[e].closes == i)
                outcome->end[e].state = CLOSED; /* now the RST that this has crossed comes */
        show(&play, i, drawn);
    }
    if (c->filtered)
        take_acks_for_granted(outcome);
    outcome->over = is_over(outcome);
    find_evidence(c);
    free(play.later[CLIENT]);
    free(play.later[SERVER]);
    return *outcome;
}
