/* resets.c - what becomes of a RST.
 *
 * Three questions, in this order. Is it its sender's own, or only in its name? Has it a number at
 * which its receiver believes it (RFC 9293, 3.10.7)? Did it reach its receiver before that sent
 * its next packet? What both ends send after the RST tells: the struct later of each.
 *
 * In all functions here "sender" is the end whose address the RST bears, "receiver" the other one.
 */
#include "ladder.h"

enum {
    LOOK_AHEAD = 8, /* packets: an answer to a SYN comes before many others */
    NEAR_ID = 5000  /* IP ids of one sender go on in small steps, or they tell nothing */
};

static const struct packet *packet(const struct play *play, int i)
{
    return play->c->packet[i];
}

static const struct end *sender_of(const struct play *play, int i)
{
    return &play->outcome.end[packet(play, i)->sender];
}

static const struct end *receiver_of(const struct play *play, int i)
{
    return &play->outcome.end[!packet(play, i)->sender];
}

/* What the sender of RST I, and its receiver, send after it. */
static const struct later *later_of_sender(const struct play *play, int i)
{
    return &play->later[packet(play, i)->sender][i];
}

static const struct later *later_of_receiver(const struct play *play, int i)
{
    return &play->later[!packet(play, i)->sender][i];
}

/* Of numbers that may be unknown. */
static bool is_past(int64_t number, int64_t limit)
{
    return limit != ABSENT && number > limit;
}

/* Was packet I sent within the time that a packet may be on the way, from RST RESET on? */
static bool is_on_the_way(const struct play *play, int i, int reset)
{
    return packet(play, i)->time - packet(play, reset)->time < play->c->on_the_way;
}

/* ---- is it its sender's own? ----------------------------------------------------------------- */

/* RFC 9293, figure 9: an end that is opening answers what acknowledges another SYN with a bare RST,
 * and goes on opening. */
static bool answers_wrong_ack(const struct play *play, int i)
{
    const struct packet *p = packet(play, i);
    const struct packet *before = i == 0 ? NULL : packet(play, i - 1);
    const struct end *sender = sender_of(play, i);

    if (before == NULL || p->flags & ACK || before->sender == p->sender)
        return false;
    return before->ack == p->seq && (p->seq <= sender->iss || p->seq > sender->snd_nxt);
}

/* A RST of an end in SYN-SENT with other numbers than its SYN's ends an older connection. */
static bool answers_older(const struct play *play, int i)
{
    const struct packet *p = packet(play, i);
    const struct end *sender = sender_of(play, i);

    return sender->state == SYN_SENT && p->seq != sender->iss && p->seq != sender->snd_nxt;
}

/* Has the sender's TCP sent RST I? Then it has nothing more to send: what comes later in its name,
 * beyond the numbers of the RST or too late to have crossed it, shows that it has not. */
static bool is_own(const struct play *play, int i)
{
    const struct packet *p = packet(play, i);
    const struct end *sender = sender_of(play, i);
    const struct end *receiver = receiver_of(play, i);
    const struct later *later = later_of_sender(play, i);
    bool sends_beyond;
    bool acks_beyond;

    if (later->last == -1)
        return true;
    if (receiver->state == SYN_SENT && !acknowledges_syn(receiver, p))
        return true; /* it answers something older, and goes on */
    if (sender->state == SYN_SENT && answers_wrong_ack(play, i))
        return true;
    if (later->opens)
        return false;
    sends_beyond = is_past(later->end, p->seq);
    acks_beyond = is_past(later->ack, sender->rcv_nxt) && later->ack > p->ack;
    if (is_past(later->ack, receiver->snd_nxt) || (p->flags & ACK && sends_beyond))
        return false;
    if (packet(play, later->last)->time - p->time > SWAPPED && (sends_beyond || acks_beyond))
        return false;
    return is_on_the_way(play, later->last, i);
}

/* ---- is it believed? ------------------------------------------------------------------------- */

static bool has_heard_fin(const struct end *end)
{
    return end->state == CLOSE_WAIT || end->state == LAST_ACK || end->state == CLOSING;
}

/* Does the receiver of RST I send nothing more, and answer the next packet with a RST? Then it
 * has no connection any more: whatever number the RST had, it was believed. */
static bool leaves_nobody(const struct play *play, int i)
{
    const struct packet *p = packet(play, i);
    const int next = later_of_sender(play, i)->next;
    const struct packet *answer;

    if (next == -1 || next + 1 >= play->c->count)
        return false;
    answer = packet(play, next + 1);
    return is_reset(answer) && answer->sender != p->sender;
}

/* Has RST I a number at which its receiver believes it? */
static bool is_acceptable(const struct play *play, int i)
{
    const struct packet *p = packet(play, i);
    const struct end *sender = sender_of(play, i);
    const struct end *receiver = receiver_of(play, i);

    if (receiver->state == SYN_SENT)
        return acknowledges_syn(receiver, p);
    if (receiver->reset_pending || p->hole)
        return true; /* who knows */
    if (sender->snd_nxt == ABSENT || receiver->rcv_nxt == ABSENT)
        return true;
    if (p->seq == receiver->rcv_nxt) /* 3.10.7.4 */
        return true;
    if (p->seq == receiver->rcv_nxt - 1 && has_heard_fin(receiver)) /* Linux, tcp_reset_check() */
        return true;
    if (p->seq < receiver->rcv_nxt)
        return false;
    return p->seq <= sender->snd_nxt || leaves_nobody(play, i); /* if all has come that was sent */
}

/* ---- did it come? ---------------------------------------------------------------------------- */

/* Does the receiver of RST I answer it with a challenge ACK, which asks for data that was sent
 * before the RST? */
static bool asks_for_data(const struct play *play, int i)
{
    const struct packet *answer = packet(play, later_of_receiver(play, i)->next);
    const bool is_pure = (answer->flags & (SYN | FIN)) == 0 && answer->size == 0;

    return is_pure && answer->ack < packet(play, i)->seq &&
           answer->ack == receiver_of(play, i)->rcv_nxt;
}

/* Does the receiver of RST I, which has only answered for an older connection, go on with that? */
static bool goes_on_in_older(const struct play *play, int i)
{
    const struct packet *p = packet(play, i);

    for (int j = i + 1; j < play->c->count && j <= i + LOOK_AHEAD; j++) {
        const struct packet *sent = packet(play, j);

        if (sent->sender != p->sender && !is_reset(sent) && sent->icmp == NULL)
            return !acknowledges_syn(sender_of(play, i), sent);
    }
    return receiver_of(play, i)->ignores;
}

/* RFC 1337: an end in TIME-WAIT may ignore RST. What it sends later shows it. */
static bool is_ignored_in_time_wait(const struct play *play, int i)
{
    const struct end *receiver = receiver_of(play, i);
    const int next = later_of_receiver(play, i)->next;

    if (receiver->state != TIME_WAIT)
        return false;
    return receiver->ignores || (next != -1 && !is_on_the_way(play, next, i));
}

/* What became of RST I, which is acceptable: its receiver believed it, or ignored it, or sent its
 * next packets while the RST was on the way, or never had it. */
static enum fate fate_of(const struct play *play, int i)
{
    const struct later *later = later_of_receiver(play, i);
    const enum state state = receiver_of(play, i)->state;
    const int last = later->until == -1 ? later->next : later->until;

    if (state == SILENT)
        return goes_on_in_older(play, i) ? IGNORED : BELIEVED;
    if (is_ignored_in_time_wait(play, i))
        return IGNORED;
    if (later->next == -1)
        return BELIEVED;
    if (state == SYN_SENT || is_past(later->ack, sender_of(play, i)->snd_nxt))
        return IGNORED;
    if (asks_for_data(play, i))
        return IGNORED;
    return is_on_the_way(play, last, i) ? CROSSED : LOST;
}

/* ---- what it does ---------------------------------------------------------------------------- */

/* For the verdict: the first RST that counts, and what then came of it. */
static void remember(struct play *play, int i, bool own, enum fate fate)
{
    struct outcome *outcome = &play->outcome;
    const struct packet *p = packet(play, i);

    if (outcome->reset == -1) {
        if (is_over(outcome) || !(own || fate == BELIEVED || fate == CROSSED))
            return;
        outcome->reset = i;
        outcome->fate = own ? fate : IN_NAME;
        outcome->meant = receiver_of(play, i)->state;
        outcome->met = later_of_receiver(play, i)->next;
    } else if (own && outcome->answer == -1) {
        const bool from_first = p->sender == packet(play, outcome->reset)->sender;

        if (from_first != (outcome->fate == IN_NAME))
            outcome->answer = i;
        else
            outcome->both = true;
        if (outcome->fate == IN_NAME)
            outcome->met = receiver_of(play, i)->spoken;
    }
}

/* A RST in the sender's name that its TCP has not sent. */
static void forge(struct play *play, struct packet *p, enum fate fate)
{
    p->note = " in its name";
    play->outcome.forged[p->sender] = fate == LOST ? IGNORED : fate;
}

/* A RST to an end that has never spoken: its sender takes back its own SYN. */
static void reset_nobody(struct play *play, int i, bool own)
{
    struct packet *p = play->c->packet[i];
    struct end *sender = &play->outcome.end[p->sender];

    if (!own)
        forge(play, p, IGNORED);
    else if (answers_older(play, i))
        p->note = " ignored";
    else {
        play->outcome.gave_up = sender->state == SYN_SENT;
        sender->state = CLOSED;
    }
}

/* A RST that is not acceptable changes nothing; but an end that sends one to a SYN is there. */
static void ignore(struct play *play, int i)
{
    struct packet *p = play->c->packet[i];
    struct end *sender = &play->outcome.end[p->sender];

    p->note = " ignored";
    if (sender->state == SILENT && receiver_of(play, i)->state == SYN_SENT &&
        !later_of_sender(play, i)->opens) {
        sender->state = CLOSED;
        play->outcome.wrong_ack = true;
    }
}

/* RST I, which is acceptable, meets its FATE. KEEPS: its sender has not ended this connection. */
static void meet(struct play *play, int i, bool own, bool keeps, enum fate fate)
{
    struct packet *p = play->c->packet[i];
    struct end *sender = &play->outcome.end[p->sender];
    struct end *receiver = &play->outcome.end[!p->sender];

    if (!own)
        forge(play, p, fate);
    else if (!keeps && sender->state != NOT_RECORDED)
        sender->state = CLOSED;
    if (own && fate == IGNORED)
        p->note = " ignored";
    if (fate == IGNORED)
        receiver->ignores = true;
    if (fate == LOST)
        p->lost = true;
    if (fate == BELIEVED && receiver->state != NOT_RECORDED)
        receiver->state = CLOSED;
    if (fate == CROSSED) {
        receiver->reset_pending = true;
        if (later_of_sender(play, i)->next_reset == -1)
            receiver->closes = later_of_receiver(play, i)->last;
    }
    /* Beside a RST that did not end them, the states stand once more. */
    if (fate != BELIEVED && receiver->state != SILENT)
        p->shown[!p->sender] = (uint8_t)receiver->state;
    if (!own && sender->state != SILENT)
        p->shown[p->sender] = (uint8_t)sender->state;
}

void play_reset(struct play *play, int i)
{
    const struct end *sender = sender_of(play, i);
    const struct end *receiver = receiver_of(play, i);
    const bool own = is_own(play, i);
    const bool is_opening = sender->state == SYN_SENT || sender->state == SILENT;
    const bool to_nobody = receiver->state == SILENT && !receiver->has_older && is_opening;
    bool goes_on_opening;
    bool keeps;
    enum fate fate;

    if (to_nobody) {
        reset_nobody(play, i, own);
        return;
    }
    if (!is_acceptable(play, i)) {
        ignore(play, i);
        return;
    }
    goes_on_opening = own && sender->state == SYN_SENT && later_of_sender(play, i)->last != -1 &&
                      answers_wrong_ack(play, i);
    fate = goes_on_opening ? BELIEVED : fate_of(play, i);
    keeps = goes_on_opening || answers_older(play, i);
    if (!keeps)
        remember(play, i, own, fate);
    meet(play, i, own, keeps, fate);
}

/* ---- evidence -------------------------------------------------------------------------------- */

void find_evidence(struct conversation *c)
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
