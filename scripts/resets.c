/* resets.c - what becomes of a RST.
 *
 * Three questions, in this order. Is it its sender's own, or only in its name? Has it a number at
 * which its receiver believes it (RFC 9293, 3.10.7)? Did it reach its receiver before that went on?
 */
#include "ladder.h"

enum {
    SWAPPED = 1000, /* microseconds: as near as this, two packets of lo may be swapped */
    LOOK_AHEAD = 8  /* packets: an answer to a SYN comes before many others */
};

/* Of numbers that may be unknown. */
static bool is_past(int64_t number, int64_t limit)
{
    return number != ABSENT && limit != ABSENT && number > limit;
}

static const struct later *later_of(const struct play *play, int e, int i)
{
    return &play->later[e][i + 1];
}

/* ---- whose own it is ------------------------------------------------------------------------- */

/* RFC 9293, figure 9: an end that is opening answers what acknowledges another SYN with a bare RST,
 * and goes on. */
static bool answers_wrong_ack(const struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const struct packet *before = i == 0 ? NULL : play->c->packet[i - 1];
    const struct end *me = &play->outcome.end[p->sender];

    if (before == NULL || p->flags & ACK || before->sender == p->sender)
        return false;
    return before->ack == p->seq && (p->seq <= me->iss || p->seq > me->snd_nxt);
}

/* A RST of an end that knows an older connection: it takes nothing back of this one. */
static bool answers_older(const struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const struct end *me = &play->outcome.end[p->sender];

    return me->state == SYN_SENT && p->seq != me->iss && p->seq != me->snd_nxt;
}

/* Has the TCP of the end whose address RST I bears sent it? An abort has seq = SND.NXT, and ends
 * it: what an end sends later with other numbers shows that it has not. */
static bool is_own(const struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const struct end *me = &play->outcome.end[p->sender];
    const struct end *peer = &play->outcome.end[!p->sender];
    const struct later *later = later_of(play, p->sender, i);
    int64_t goes_on;
    bool goes_on_elsewhere;

    if (later->last == -1)
        return true;
    if (peer->state == SYN_SENT && !acknowledges_syn(peer, p))
        return true; /* to something older: it goes on */
    if (me->state == SYN_SENT && answers_wrong_ack(play, i))
        return true;
    if (later->opens || is_past(later->ack, peer->snd_nxt))
        return false;
    goes_on = play->c->packet[later->last]->time - p->time;
    goes_on_elsewhere = is_past(later->end, p->seq) || is_past(later->ack, me->rcv_nxt);
    if (p->flags & ACK && is_past(later->end, p->seq))
        return false;
    if (p->hole || (goes_on > SWAPPED && goes_on_elsewhere))
        return false;
    return goes_on < play->c->round_trip;
}

/* ---- whether it is believed ------------------------------------------------------------------ */

static bool is_behind_fin(enum state state)
{
    return state == CLOSE_WAIT || state == LAST_ACK || state == CLOSING;
}

/* Does the receiver of RST I send nothing more, and meet the next packet with a bare RST? Then it
 * has no connection any more: whatever number the RST had, it was believed. */
static bool leaves_nobody(const struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const int next = later_of(play, p->sender, i)->next;
    const struct packet *sent;
    const struct packet *answer;

    if (next == -1 || next + 1 >= play->c->count || later_of(play, !p->sender, i)->next != -1)
        return false;
    sent = play->c->packet[next];
    answer = play->c->packet[next + 1];
    return is_reset(answer) && !(answer->flags & ACK) && answer->sender != p->sender &&
           answer->seq == sent->ack;
}

/* Has RST I a number at which its receiver believes it? */
static bool is_acceptable(const struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const struct end *me = &play->outcome.end[!p->sender];
    const struct end *sender = &play->outcome.end[p->sender];

    if (me->state == SYN_SENT)
        return acknowledges_syn(me, p);
    if (me->reset_pending || sender->snd_nxt == ABSENT || me->rcv_nxt == ABSENT || p->hole)
        return true; /* who knows */
    if (p->seq == me->rcv_nxt) /* 3.10.7.4 */
        return true;
    if (p->seq == me->sacked) /* Linux, tcp_validate_incoming(): the right edge of a SACK */
        return true;
    if (p->seq == me->rcv_nxt - 1 && is_behind_fin(me->state)) /* Linux, tcp_reset_check() */
        return true;
    if (p->seq > me->rcv_nxt && p->seq <= sender->snd_nxt) /* if all has come that was sent */
        return true;
    return p->seq > me->rcv_nxt && leaves_nobody(play, i);
}

/* Does packet I, the answer to RST RESET, ask for data that was sent before it? A challenge ACK. */
static bool lacks_data(const struct play *play, int i, int reset)
{
    const struct packet *p = play->c->packet[i];
    const struct end *me = &play->outcome.end[p->sender];
    const bool is_pure = (p->flags & (SYN | FIN)) == 0 && p->size == 0;

    return is_pure && p->ack < play->c->packet[reset]->seq && p->ack == me->rcv_nxt;
}

/* Does the receiver of RST I go on answering for an older connection? */
static bool goes_on_in_older(const struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const struct end *sender = &play->outcome.end[p->sender];

    for (int j = i + 1; j < play->c->count && j <= i + LOOK_AHEAD; j++) {
        const struct packet *sent = play->c->packet[j];

        if (sent->sender != p->sender && !is_reset(sent) && sent->icmp == NULL)
            return !acknowledges_syn(sender, sent);
    }
    return play->outcome.end[!p->sender].ignores;
}

/* RFC 1337: an end in TIME-WAIT may ignore RST; what it sends later shows it. */
static bool ignores_in_time_wait(const struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const struct end *me = &play->outcome.end[!p->sender];
    const int next = later_of(play, !p->sender, i)->next;

    if (me->state != TIME_WAIT || me->ignores || next == -1)
        return me->state == TIME_WAIT && me->ignores;
    return play->c->packet[next]->time - p->time >= play->c->round_trip;
}

/* What became of RST I, which is acceptable: its receiver believed it, or ignored it, or had not
 * had it yet when it went on. */
static enum fate fate_of(const struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    const int me = !p->sender;
    const struct later *later = later_of(play, me, i);

    if (ignores_in_time_wait(play, i))
        return IGNORED;
    if (play->outcome.end[me].state == SILENT)
        return goes_on_in_older(play, i) ? IGNORED : BELIEVED;
    if (later->next == -1)
        return BELIEVED;
    if (play->outcome.end[me].state == SYN_SENT)
        return IGNORED;
    if (is_past(later->ack, play->outcome.end[p->sender].snd_nxt))
        return IGNORED;
    if (lacks_data(play, later->next, i))
        return IGNORED;
    for (int j = later->next; j <= later->until; j++) {
        const struct packet *sent = play->c->packet[j];

        if (sent->sender == me && sent->again && !sent->keep_alive)
            return LOST; /* it has waited for an answer */
    }
    return play->c->packet[later->until]->time - p->time < play->c->round_trip ? CROSSED : LOST;
}

/* ---- what it does ---------------------------------------------------------------------------- */

/* For the verdict: the first RST that counts, and what then came of it. */
static void remember(struct play *play, int i, bool own, enum fate fate)
{
    struct outcome *outcome = &play->outcome;
    const struct packet *p = play->c->packet[i];
    const int receiver = !p->sender;

    if (outcome->reset == -1) {
        if (is_over(outcome) || !(own || fate == BELIEVED || fate == CROSSED))
            return;
        outcome->reset = i;
        outcome->fate = own ? fate : IN_NAME;
        outcome->meant = outcome->end[receiver].state;
        outcome->met = later_of(play, receiver, i)->next;
    } else if (own && outcome->answer == -1) {
        const bool from_first = p->sender == play->c->packet[outcome->reset]->sender;

        if (from_first != (outcome->fate == IN_NAME))
            outcome->answer = i;
        else
            outcome->both = true;
        if (outcome->fate == IN_NAME)
            outcome->met = outcome->end[receiver].spoken;
    }
}

/* A RST to an end that has never spoken: its sender takes back its own SYN. */
static void reset_nobody(struct play *play, int i, bool own)
{
    struct packet *p = play->c->packet[i];
    struct end *me = &play->outcome.end[p->sender];

    if (!own) {
        p->note = " in its name";
        play->outcome.forged[p->sender] = IGNORED;
    } else if (answers_older(play, i))
        p->note = " ignored";
    else {
        play->outcome.gave_up = me->state == SYN_SENT;
        me->state = CLOSED;
    }
}

/* A RST that is not acceptable changes nothing; but an end that sends one to a SYN is there. */
static void ignore(struct play *play, int i, bool own)
{
    struct packet *p = play->c->packet[i];
    struct end *me = &play->outcome.end[p->sender];

    if (!own) {
        p->note = " in its name";
        play->outcome.forged[p->sender] = IGNORED;
        return;
    }
    p->note = " ignored";
    if (me->state == SILENT && play->outcome.end[!p->sender].state == SYN_SENT &&
        !later_of(play, p->sender, i)->opens) {
        me->state = CLOSED;
        play->outcome.wrong_ack = true;
    }
}

static void cross(struct play *play, int i)
{
    const struct packet *p = play->c->packet[i];
    struct end *receiver = &play->outcome.end[!p->sender];

    receiver->reset_pending = true;
    if (later_of(play, p->sender, i)->next_reset == -1)
        receiver->closes = later_of(play, !p->sender, i)->last;
}

void play_reset(struct play *play, int i)
{
    struct packet *p = play->c->packet[i];
    struct end *me = &play->outcome.end[p->sender];
    struct end *receiver = &play->outcome.end[!p->sender];
    const bool own = is_own(play, i);
    const bool opening = me->state == SYN_SENT || me->state == SILENT;
    bool goes_on;
    enum fate fate;

    if (receiver->state == SILENT && !receiver->has_older && opening) {
        reset_nobody(play, i, own);
        return;
    }
    if (!is_acceptable(play, i)) {
        ignore(play, i, own);
        return;
    }
    goes_on = own && me->state == SYN_SENT && later_of(play, p->sender, i)->last != -1 &&
              answers_wrong_ack(play, i);
    fate = goes_on ? BELIEVED : fate_of(play, i);
    goes_on = goes_on || answers_older(play, i);
    if (!goes_on)
        remember(play, i, own, fate);
    if (!own) {
        p->note = " in its name";
        play->outcome.forged[p->sender] = fate == LOST ? IGNORED : fate;
    } else {
        if (fate == IGNORED)
            p->note = " ignored";
        if (!goes_on && me->state != NOT_RECORDED)
            me->state = CLOSED;
    }
    if (fate == IGNORED)
        receiver->ignores = true;
    if (fate != BELIEVED && receiver->state != SILENT)
        p->shown[!p->sender] = (uint8_t)receiver->state; /* still */
    if (!own && me->state != SILENT)
        p->shown[p->sender] = (uint8_t)me->state;
    p->lost = fate == LOST;
    if (fate == BELIEVED && receiver->state != NOT_RECORDED)
        receiver->state = CLOSED;
    if (fate == CROSSED)
        cross(play, i);
}
