/* draw.c - a conversation as a ladder: the client's bar left, the server's right, a row a packet.
 *
 * In: a conversation that states.c has played, its calls, its verdict. Out: lines of printable
 * ASCII, which are straight in every terminal and browser:
 *
 *   0.000271  recv 4 bytes "CDEF"                     |                    a call
 *   0.000283  ESTABLISHED  |x------------- RST, ACK --|  CLOSED            a packet; x: it is lost
 *      :                   |          5.2 s           |                    what is in between
 *   TIME      LEFT         |         BETWEEN          |
 *
 * A state stands beside the packet with which it begins.
 */
#include "ladder.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND INT64_C(1000000)
#define DAY INT64_C(86400)
#define ALL_BUT_PSH (~(unsigned)PSH)

enum {
    TIME = 10,     /* columns of the time */
    LEFT = 13,     /* of what stands left of the bars */
    BETWEEN = 26,  /* between the bars */
    WORDS = 21,    /* of an arrow's words, between "-- " and " >" */
    SUBJECT = 10,  /* of the header's first word */
    DIGITS = 8,    /* of a time */
    LINE = 80,
    MOST = 20,     /* rows of data and ACKs alone; of a longer run, only so many ... */
    FEW = 3,       /* ... at its beginning and at its end are drawn */
    SHORT = 8      /* bytes: so much data is shown as it is */
};

static const char *role[ENDS] = { "client", "server" };

/* A conversation while it is drawn. */
struct view {
    const struct drawing *drawing;
    const struct conversation *c;
    const struct call *call; /* the next one to be drawn */
    const struct call *end;
    int64_t latest;          /* time of the row above */
    size_t left;             /* columns: of the states at the left, */
    size_t bar;              /* of the left bar, */
    size_t right;            /* of the right bar */
};

/* ---- text: of any length, for addresses are -------------------------------------------------- */
struct text {
    char *bytes;
    size_t length;
    size_t room;
};

static void add_bytes(struct text *text, const char *bytes, size_t count)
{
    if (text->length + count >= text->room) {
        text->room = 2 * (text->length + count) + LINE;
        text->bytes = checked(realloc(text->bytes, text->room));
    }
    memcpy(text->bytes + text->length, bytes, count);
    text->length += count;
}

static void add(struct text *text, const char *words)
{
    add_bytes(text, words, strlen(words));
}

static void add_number(struct text *text, int64_t number, const char *words)
{
    char digits[24];

    snprintf(digits, sizeof digits, "%lld", (long long)number);
    add(text, digits);
    add(text, words);
}

/* Adds blanks up to COLUMN. */
static void fill(struct text *text, size_t column)
{
    while (text->length < column)
        add_bytes(text, " ", 1);
}

/* Prints TEXT as a line, and empties it. Nothing that names, data or logs bring gets past here if
 * it could steer a terminal. */
static void print_line(struct text *text, FILE *out)
{
    while (text->length > 0 && text->bytes[text->length - 1] == ' ')
        text->length--;
    for (size_t i = 0; i < text->length; i++)
        if (text->bytes[i] < ' ' || text->bytes[i] > '~')
            text->bytes[i] = '.';
    add_bytes(text, "\n", 1);
    fwrite(text->bytes, 1, text->length, out); /* main() looks whether it could be written */
    text->length = 0;
}

static struct text line; /* the one that is being written */

/* ---- times ----------------------------------------------------------------------------------- */
/* Adds "21:24:11.396569", the local time of the day of TIME. Returns whether there is one. */
static bool add_time_of_day(struct text *text, enum clock clock, int64_t time)
{
    int64_t microseconds = (time % SECOND + SECOND) % SECOND;
    time_t seconds = (time_t)((time - microseconds) / SECOND);
    struct tm day = { 0 };
    char words[32];

    if (clock == NO_TIMES)
        return false;
    if (clock == TIME_OF_DAY) {
        int of_day = (int)((seconds % DAY + DAY) % DAY);

        day.tm_hour = of_day / 3600;
        day.tm_min = of_day / 60 % 60;
        day.tm_sec = of_day % 60;
    } else if (localtime_r(&seconds, &day) == NULL) {
        return false;
    }
    snprintf(words, sizeof words, "%02d:%02d:%02d.%06d", day.tm_hour, day.tm_min, day.tm_sec,
             (int)microseconds);
    add(text, words);
    return true;
}

/* Puts TIME, since the conversation's begin, into WORDS: as many digits as fit, 0.000283. */
static void put_time(char words[static 32], const struct view *v, int64_t time)
{
    int64_t since = time - v->c->begin;
    const char *sign = since < 0 ? "-" : "";
    int whole;

    since = since < 0 ? -since : since;
    whole = snprintf(words, 32, "%s%lld", sign, (long long)(since / SECOND));
    snprintf(words + whole, 32 - (size_t)whole, ".%06d", (int)(since % SECOND));
    if (whole < DIGITS - 1)
        words[DIGITS] = '\0';
    else
        words[whole] = '\0';
}

/* ---- rows ------------------------------------------------------------------------------------ */
/* BEFORE stands in the columns of the time, LEFT and RIGHT outside the bars, and BETWEEN in the
 * middle. A LEFT that is long reaches over the left bar. */
static void print_row(const struct view *v, const char *before, const char *left,
                      const char *between, const char *right)
{
    size_t middle = strlen(between);
    size_t indent = middle < BETWEEN ? (BETWEEN - middle) / 2 : 0;

    add(&line, before);
    fill(&line, v->left);
    add(&line, left);
    if (strlen(left) < LEFT) {
        fill(&line, v->bar);
        add(&line, "|");
        fill(&line, v->bar + 1 + indent);
        add(&line, between);
    }
    fill(&line, v->right);
    add(&line, "|  ");
    add(&line, right);
    print_line(&line, v->drawing->out);
}

/* What stands in the columns of the time where something is left out. */
static const char *dots(const struct view *v)
{
    return v->drawing->times ? "   :" : ":";
}

/* Says how long nothing has happened, if that is long, before a row of TIME. */
static bool is_gap(const struct view *v, int64_t time)
{
    return v->drawing->times && time - v->latest >= SECOND;
}

static void print_gap(struct view *v, int64_t time)
{
    if (is_gap(v, time)) {
        char words[32];

        snprintf(words, sizeof words, "%.1f s", (double)(time - v->latest) / (double)SECOND);
        print_row(v, dots(v), "", words, "");
    }
    v->latest = time;
}

static void print_call(struct view *v, const struct call *call)
{
    char time[32];

    print_gap(v, call->time);
    put_time(time, v, call->time);
    if (call->role == CLIENT)
        print_row(v, time, call->text, "", "");
    else
        print_row(v, time, "", "", call->text);
}

static bool call_is_due(const struct view *v, const struct packet *p)
{
    return v->drawing->times && v->call < v->end && (p == NULL || v->call->time <= p->time);
}

/* ---- a packet's words ------------------------------------------------------------------------ */
static void add_flags(struct text *words, unsigned flags)
{
    static const struct {
        unsigned flag;
        const char *name;
    } known[] = {
        { SYN, "SYN" }, { FIN, "FIN" }, { RST, "RST" }, { PSH, "PSH" }, { URG, "URG" },
        { ECE, "ECE" }, { CWR, "CWR" }, { AE, "AE" },   { ACK, "ACK" },
    };
    const char *comma = "";

    if (flags == 0)
        add(words, "no flags");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if ((flags & known[i].flag) == 0)
            continue;
        add(words, comma);
        add(words, known[i].name);
        comma = ", ";
    }
}

static int digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *found = c == '\0' ? NULL : strchr(digits, c);

    return found == NULL ? -1 : (int)(found - digits);
}

/* Puts the data of P, as text, into BYTES. Returns whether all of it is known and printable. */
static bool is_text(char bytes[static SHORT + 1], const struct packet *p)
{
    for (size_t i = 0; i < p->size; i++) {
        int byte = 16 * digit(p->data[2 * i]) + digit(p->data[2 * i + 1]);

        if (byte < ' ' || byte > '~')
            return false;
        bytes[i] = (char)byte;
    }
    bytes[p->size] = '\0';
    return true;
}

/* Adds short data as it is: in quotes if it is text, else its hexadecimal digits. */
static void add_data(struct text *words, const struct packet *p)
{
    char bytes[SHORT + 1];

    if (is_text(bytes, p)) {
        add(words, " \"");
        add(words, bytes);
        add(words, "\"");
    } else {
        add(words, " 0x");
        add_bytes(words, p->data, (size_t)2 * p->size);
    }
}

/* Does a record of TLS begin here (RFC 8446, 5.1) that says why an end closes, or that it does? Its
 * type is 21, its version 3.0 to 3.4; most of them are encrypted. */
static bool is_tls_alert(const struct packet *p)
{
    return p->data != NULL && strncmp(p->data, "15030", 5) == 0 && p->data[5] >= '0' &&
           p->data[5] <= '4';
}

static void add_size(struct text *words, const struct packet *p, bool tight)
{
    add(words, " ");
    add_number(words, p->size, tight ? " B" : p->size == 1 ? " byte" : " bytes");
}

static bool has_zero_window(const struct packet *p)
{
    return p->window == 0 && (p->flags & RST) == 0;
}

static const char *note(const struct packet *p)
{
    if (p->note != NULL && p->note[0] != '\0')
        return p->note;
    if (p->keep_alive)
        return " keep-alive";
    return p->again ? " again" : "";
}

/* What is left out of a packet's words, one more each, until they fit. */
enum shorter { ALL, TIGHT, NO_PSH, ONLY_SIZE, NO_SIZE, CUT };

static void compose(struct text *words, const struct packet *p, enum shorter shorter)
{
    bool is_known = p->data != NULL && strlen(p->data) >= (size_t)2 * p->size;

    if (p->icmp != NULL) {
        add(words, shorter < NO_SIZE ? "ICMP " : "");
        add(words, p->icmp);
        return;
    }
    add_flags(words, shorter < NO_PSH ? p->flags : p->flags & ALL_BUT_PSH);
    if (p->size > 0 && p->size <= SHORT && is_known && shorter < ONLY_SIZE)
        add_data(words, p);
    else if (is_tls_alert(p))
        add(words, " TLS alert");
    else if (p->size > 0 && shorter < NO_SIZE)
        add_size(words, p, shorter >= TIGHT);
    if (has_zero_window(p))
        add(words, " win 0");
    add(words, note(p));
}

/* Says of P what fits into WORDS columns. */
static void say_packet(struct text *words, const struct packet *p)
{
    enum shorter shorter = ALL;

    do {
        words->length = 0;
        compose(words, p, shorter++);
    } while (words->length > WORDS && shorter < CUT);
    if (words->length > WORDS)
        words->length = WORDS;
}

/* ---- packets --------------------------------------------------------------------------------- */
/* An arrow from SENDER to the other bar. */
static void put_arrow(char between[static BETWEEN + 1], const struct text *words, int sender,
                      char head)
{
    size_t begin = sender == CLIENT ? 3 : BETWEEN - 3 - words->length;

    memset(between, '-', BETWEEN);
    between[sender == CLIENT ? BETWEEN - 1 : 0] = head;
    between[begin - 1] = ' ';
    memcpy(between + begin, words->bytes, words->length);
    between[begin + words->length] = ' ';
    between[BETWEEN] = '\0';
}

static const char *shown_state(const struct packet *p, int end)
{
    return p->shown[end] == NOT_SHOWN ? "" : state_name(p->shown[end]);
}

/* Says beneath a RST in what it differs from its sender's other packets: somebody else may have
 * sent it. */
static void print_evidence(const struct view *v, const struct packet *p)
{
    char words[BETWEEN + 16];

    if (p->other_ttl >= 0) {
        snprintf(words, sizeof words, "ttl %d, its others %d", p->ttl, p->other_ttl);
        print_row(v, "", "", words, "");
    }
    if (p->other_id >= 0) {
        snprintf(words, sizeof words, "id %ld, its last %ld", (long)p->id, (long)p->other_id);
        print_row(v, "", "", words, "");
    }
}

static void print_packet(struct view *v, const struct packet *p)
{
    static struct text words;
    char between[BETWEEN + 1];
    char time[32] = "";
    int from = p->icmp != NULL ? 1 - p->sender : p->sender; /* an error comes from the other side */
    char head = '<';

    if (from == CLIENT)
        head = '>';
    if (p->lost)
        head = 'x';
    print_gap(v, p->time);
    if (p->hole)
        print_row(v, dots(v), "", "packets are missing", "");
    say_packet(&words, p);
    put_arrow(between, &words, from, head);
    if (v->drawing->times)
        put_time(time, v, p->time);
    print_row(v, time, shown_state(p, CLIENT), between, shown_state(p, SERVER));
    print_evidence(v, p);
}

/* ---- long runs ------------------------------------------------------------------------------- */
/* Does the row of packet I say nothing but that data or an ACK was sent? */
static bool is_plain(const struct view *v, int i)
{
    const struct packet *p = v->c->packet[i];

    return (p->flags & (SYN | FIN | RST)) == 0 && p->icmp == NULL && !p->lost && !p->hole &&
           !p->keep_alive && !has_zero_window(p) && (p->note == NULL || p->note[0] == '\0') &&
           p->shown[CLIENT] == NOT_SHOWN && p->shown[SERVER] == NOT_SHOWN &&
           (i == 0 || !v->drawing->times || p->time - v->c->packet[i - 1]->time < SECOND);
}

/* So many packets from number I on are plain, and no call stands between them. */
static int run_at(const struct view *v, int i)
{
    int end = i;

    while (end < v->c->count && is_plain(v, end) &&
           (end == i || !call_is_due(v, v->c->packet[end])))
        end++;
    return end - i;
}

static void print_packets(struct view *v, int i, int count)
{
    for (int end = i + count; i < end; i++)
        print_packet(v, v->c->packet[i]);
}

/* One row for COUNT packets from number I on. */
static void print_fold(struct view *v, int i, int count)
{
    static struct text between, right;
    int64_t bytes = 0;
    int again = 0;

    between.length = 0;
    right.length = 0;
    for (int end = i + count; i < end; i++) {
        bytes += v->c->packet[i]->size;
        again += v->c->packet[i]->again;
        v->latest = v->c->packet[i]->time;
    }
    add_number(&between, count, " packets");
    add_number(&right, bytes, again > 0 ? " bytes, " : " bytes");
    if (again > 0)
        add_number(&right, again, " came again");
    add_bytes(&between, "", 1); /* the end of a string */
    add_bytes(&right, "", 1);
    print_row(v, dots(v), "", between.bytes, right.bytes);
}

static void print_rows(struct view *v)
{
    int i = 0;

    while (i < v->c->count) {
        int run;

        while (call_is_due(v, v->c->packet[i]))
            print_call(v, v->call++);
        run = run_at(v, i);
        if (run > MOST) {
            print_packets(v, i, FEW);
            print_fold(v, i + FEW, run - 2 * FEW);
            print_packets(v, i + run - FEW, FEW);
        } else {
            run = run > 0 ? run : 1;
            print_packets(v, i, run);
        }
        i += run;
    }
    while (call_is_due(v, NULL))
        print_call(v, v->call++);
}

/* ---- header and footer ----------------------------------------------------------------------- */
/* Adds ADDRESS:PORT of tcpdump's ADDRESS.PORT; 127.0.0.1 goes without saying. */
static void add_address(struct text *text, const char *end, bool port)
{
    const char *dot = strrchr(end, '.');
    size_t host = dot == NULL ? strlen(end) : (size_t)(dot - end);
    bool is_ipv6 = memchr(end, ':', host) != NULL;

    if (host != strlen("127.0.0.1") || strncmp(end, "127.0.0.1", host) != 0) {
        add(text, is_ipv6 ? "[" : "");
        add_bytes(text, end, host);
        add(text, is_ipv6 ? "]" : "");
    }
    if (port && dot != NULL) {
        add(text, ":");
        add(text, dot + 1);
    }
}

static void add_end(struct text *text, const struct conversation *c, int end, bool port)
{
    add(text, role[end]);
    add(text, c->guessed ? "? " : " ");
    add_address(text, c->end[end], port);
}

/* Adds "sample2" if that is its server, else "tcp 1". */
static void add_subject(struct text *text, const struct conversation *c)
{
    static const char *samples[] = { "127.0.0.1.808", "::1.808" };

    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        size_t length = strlen(samples[i]);
        const char *digits = c->end[SERVER] + length;

        if (strncmp(c->end[SERVER], samples[i], length) == 0 && digits[0] >= '1' &&
            digits[0] <= '9' && digits[1] == '\0') {
            add(text, "sample");
            add(text, digits);
            return;
        }
    }
    add(text, "tcp ");
    add_number(text, c->number, "");
}

static void print_header(const struct view *v)
{
    static struct text server;
    FILE *out = v->drawing->out;

    if (v->c->number > 1)
        print_line(&line, out);
    add_subject(&line, v->c);
    fill(&line, SUBJECT - 1);
    add(&line, " ");
    add_end(&line, v->c, CLIENT, v->drawing->times);
    server.length = 0;
    add_end(&server, v->c, SERVER, true);
    if (line.length < v->right && v->right + server.length <= LINE) {
        fill(&line, v->right);
    } else { /* too long for one line */
        print_line(&line, out);
        fill(&line, server.length < LINE ? LINE - server.length : 0);
    }
    add_bytes(&line, server.bytes, server.length);
    print_line(&line, out);
    if (!v->drawing->times)
        return;
    add(&line, "seconds since ");
    if (!add_time_of_day(&line, v->drawing->clock, v->c->begin)) {
        line.length = 0;
        add(&line, " seconds");
    }
    print_line(&line, out);
}

/* So much of WORDS fits a line: up to the end of a sentence, else of a word. */
static size_t fitting(const char *words, size_t width)
{
    if (strlen(words) <= width)
        return strlen(words);
    for (size_t i = width; i > 0; i--)
        if (words[i - 1] == '.' && words[i] == ' ')
            return i;
    for (size_t i = width; i > 0; i--)
        if (words[i] == ' ')
            return i;
    return width;
}

static void print_folded(FILE *out, const char *words)
{
    while (*words != '\0') {
        size_t count = fitting(words, LINE - 2);

        add(&line, "  ");
        add_bytes(&line, words, count);
        print_line(&line, out);
        words += count;
        words += *words == ' ';
    }
}

static void print_footer(const struct view *v, const char *verdict)
{
    const struct conversation *c = v->c;
    const struct conversation *other = c->same_as;

    print_folded(v->drawing->out, verdict);
    if (c->copies > 0) {
        add(&line, "  ");
        add_number(&line, c->copies, c->copies == 1 ? " copy" : " copies");
        add(&line, " of packets left out.");
        print_line(&line, v->drawing->out);
    }
    if (other != NULL) {
        add(&line, "  Another view of ");
        add_subject(&line, other);
        add(&line, ": its ");
        add(&line, role[c->translated]);
        add(&line, " is ");
        add_address(&line, other->end[c->translated], true);
        add(&line, " there.");
        print_line(&line, v->drawing->out);
    }
}

void draw(const struct drawing *drawing, const struct conversation *c, const struct call *calls,
          size_t count, const char *verdict)
{
    struct view v = { .drawing = drawing, .c = c, .call = calls, .latest = c->begin };

    v.end = count == 0 ? calls : calls + count;
    v.left = drawing->times ? TIME : 0;
    v.bar = v.left + LEFT;
    v.right = v.bar + 1 + BETWEEN;
    print_header(&v);
    print_rows(&v);
    print_footer(&v, verdict);
}

void print_verdict(const struct drawing *drawing, const struct conversation *c,
                   const char *verdict)
{
    if (!add_time_of_day(&line, drawing->clock, c->begin))
        add(&line, "-");
    add(&line, " ");
    add(&line, c->end[CLIENT]);
    add(&line, " > ");
    add(&line, c->end[SERVER]);
    add(&line, ": ");
    add(&line, verdict);
    add(&line, c->guessed ? " (client guessed)" : "");
    print_line(&line, drawing->out);
}
