/* verdict.c - says in one line how a conversation ended.
 *
 * In: a conversation that was played, and its outcome. Out: who ended it, after how many packets,
 * how, and who keeps TIME-WAIT; then, in sentences of their own, what limits that.
 */
#include "ladder.h"

#include <stdarg.h>
#include <string.h>

enum { ROOM = 1000 }; /* characters: no verdict is nearly so long */

static char text[ROOM];

static const char *const end_name[ENDS] = { "client", "server" };

static void add(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void add(const char *format, ...)
{
    const size_t used = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + used, sizeof text - used, format, arguments);
    va_end(arguments);
}

/* "8 packets", of TCP. */
static void add_count(const struct conversation *c)
{
    int count = 0;

    for (int i = 0; i < c->count; i++)
        if (c->packet[i]->icmp == NULL)
            count++;
    add("%d packet%s", count, count == 1 ? "" : "s");
}

/* ---- what happened --------------------------------------------------------------------------- */

/* The end whose FIN came first; -1 if none came, or a RST decided before it. */
static int first_closer(const struct conversation *c, const struct outcome *o)
{
    for (int i = 0; i < c->count; i++) {
        const struct packet *p = c->packet[i];

        if (o->reset != -1 && i >= o->reset)
            return -1;
        if (p->flags & FIN && !is_reset(p))
            return p->sender;
    }
    return -1;
}

/* The end that sent the RST that decided; if that was in its name only, the one that really did. */
static int resetter(const struct conversation *c, const struct outcome *o)
{
    const int i = o->fate == IN_NAME && o->answer != -1 ? o->answer : o->reset;

    return c->packet[i]->sender;
}

/* Is the first packet that acknowledges CLOSER's FIN the FIN of the other end? */
static bool is_ack_on_fin(const struct conversation *c, int closer)
{
    int64_t fin_end = ABSENT;

    for (int i = 0; i < c->count; i++) {
        const struct packet *p = c->packet[i];

        if (p->sender == closer && p->flags & FIN && fin_end == ABSENT)
            fin_end = p->end;
        if (p->sender != closer && fin_end != ABSENT && p->ack >= fin_end)
            return p->flags & FIN;
    }
    return false;
}

static const char *kind_of(const struct packet *p)
{
    if (p->flags & SYN)
        return p->flags & ACK ? "SYN, ACK" : "SYN";
    if (p->flags & FIN)
        return "FIN";
    return p->size > 0 ? "data" : "ACK";
}

/* RFC 9293, 3.5.1: an end has a connection of which the other one knows nothing any more. */
static bool is_half_open(const struct outcome *o, int e)
{
    const enum state state = o->end[e].state;

    return o->end[!e].state == CLOSED && state >= ESTABLISHED;
}

/* ---- words ----------------------------------------------------------------------------------- */

static void add_who(const struct conversation *c, const struct outcome *o)
{
    const int closer = first_closer(c, o);
    int who;

    if (o->gave_up) {
        add("client gave up");
        return;
    }
    if (o->reset == -1 || o->forgotten) {
        add("%s closed", o->fins_crossed || closer == -1 ? "both" : end_name[closer]);
        return;
    }
    who = resetter(c, o);
    if (closer != -1 && closer == who) {
        add("%s closed and reset it", end_name[who]);
        return;
    }
    if (closer != -1)
        add("%s closed, ", end_name[closer]);
    if (o->both)
        add("both reset it");
    else if (o->meant == SYN_SENT && o->fate != IN_NAME)
        add("%s refused it", end_name[who]);
    else
        add("%s reset it", end_name[who]);
}

static void add_what_met_it(const struct conversation *c, const struct outcome *o)
{
    if (o->met != -1)
        add(", %s%s", kind_of(c->packet[o->met]), o->answer != -1 ? " met RST" : "");
    add(".");
}

static void add_reset(const struct conversation *c, const struct outcome *o)
{
    static const char *const fates[] = { "", "believed", "crossed", "lost", "ignored", "" };

    if (o->forgotten)
        add("FIN met RST, the %s had no connection any more.", end_name[resetter(c, o)]);
    else if (o->fate == IN_NAME) {
        add("RST in the %s's name", end_name[c->packet[o->reset]->sender]);
        add_what_met_it(c, o);
    } else if (first_closer(c, o) != -1)
        add("RST after FIN.");
    else if (o->both)
        add("RST both ways.");
    else if (o->meant == SYN_SENT)
        add("RST to the SYN.");
    else if (o->answers_syn_ack)
        add("RST to the SYN, ACK.");
    else if (o->fate != BELIEVED) {
        add("RST %s", fates[o->fate]);
        add_what_met_it(c, o);
    } else
        add(o->whole ? "RST, no FIN." : "RST.");
}

static void add_how(const struct conversation *c, const struct outcome *o)
{
    if (o->gave_up)
        add("RST, server silent.");
    else if (o->reset != -1)
        add_reset(c, o);
    else if (o->fins_crossed)
        add("FIN both ways at once.");
    else if (is_ack_on_fin(c, first_closer(c, o)))
        add("FIN in three, ACK on FIN.");
    else
        add("FIN in four packets.");
}

static void add_time_wait(const struct outcome *o)
{
    const bool client = o->end[CLIENT].state == TIME_WAIT;
    const bool server = o->end[SERVER].state == TIME_WAIT;

    if (client && server)
        add(" TIME-WAIT: both.");
    else if (client || server)
        add(" TIME-WAIT: %s.", client ? "client" : "server");
    else
        add(" TIME-WAIT: nobody.");
}

static void add_end(const struct outcome *o, int e)
{
    if (o->end[e].has_older && o->end[e].state == SILENT)
        add("%s in an older connection", end_name[e]);
    else
        add("%s %s", end_name[e], state_name(o->end[e].state));
}

static void add_end_missing(const struct conversation *c, const struct outcome *o)
{
    if (o->whole) {
        add("end missing after ");
        add_count(c);
        add(": ");
    } else
        add("beginning and end missing: ");
    if (is_half_open(o, CLIENT) || is_half_open(o, SERVER))
        add("half-open, ");
    add_end(o, CLIENT);
    add(", ");
    add_end(o, SERVER);
    add(".");
    if (o->wrong_ack)
        add(" RST without the right ack: ignored.");
}

/* RSTs that are in an end's name only, and did not decide. */
static void add_forgeries(const struct outcome *o)
{
    const bool decided = o->over && o->reset != -1 && o->fate == IN_NAME;

    for (int e = 0; e < ENDS && !decided; e++)
        if (o->forged[e] != NO_RESET)
            add(" RST in the %s's name%s.", end_name[e],
                o->forged[e] == IGNORED ? ": ignored" : "");
}

static void add_limits(const struct conversation *c)
{
    const char *icmp = NULL;
    bool hole = false;

    for (int i = 0; i < c->count; i++) {
        if (c->packet[i]->icmp != NULL)
            icmp = c->packet[i]->icmp;
        if (c->packet[i]->hole)
            hole = true;
    }
    if (c->filtered)
        add(" No pure ACK is there: filtered.");
    else if (hole)
        add(" Packets are missing.");
    if (icmp != NULL)
        add(" ICMP: %s.", icmp);
}

const char *verdict(const struct conversation *c, const struct outcome *o)
{
    text[0] = '\0';
    if (o->itself) {
        add("one end, connected to itself, ");
        add_count(c);
        add(": no states.");
        return text;
    }
    if (o->over) {
        add_who(c, o);
        if (o->whole) {
            add(" after ");
            add_count(c);
        } else
            add(", beginning missing");
        add(": ");
        add_how(c, o);
        add_time_wait(o);
    } else
        add_end_missing(c, o);
    add_forgeries(o);
    add_limits(c);
    return text;
}
