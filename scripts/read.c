/* read.c - what tcpdump printed becomes packets.
 *
 * In: lines, of a recording (read_packets(..., ours)) or out of somebody's mail, report or log,
 * printed with whatever options, with other text around them. Out: struct packet, one for each TCP
 * packet, and for each ICMP error that quotes one; and what could not be read, with the way out.
 *
 * A packet is "TIME WORDS FROM > TO: FIELDS". The words of a link may be any, for no payload can
 * stand before the first addresses. Behind those only the words of tunnels lead to another packet:
 * all else is payload. With -v there are more lines:
 *
 *   TIME WORDS IP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto GRE (47), length 64)
 *       FROM > TO: GREv0, Flags [none], length 44
 *           IP (tos 0x0, ttl 63, id 9, offset 0, flags [DF], proto TCP (6), length 40)
 *       FROM > TO: Flags [S], ...
 */
#include "read.h"

#include <stdlib.h>
#include <string.h>

#define SECOND 1000000 /* microseconds */
#define DAY (INT64_C(86400) * SECOND)
#define LONGEST_END 280 /* bytes: a name has at most 253, and a port */
#define NAME_WORDS 3    /* a name in somebody's /etc/hosts may have spaces */
#define FOLDED 80       /* columns of a terminal that folds longer lines */
#define TEAR 8          /* spaces in a line that a wider terminal has torn */
#define DATA_BYTES 16   /* that are kept: longer data is not shown */
#define DUMP_BYTES 512  /* of a packet that -x prints: headers and DATA_BYTES */
#define HEADERS 40      /* bytes: those of a packet have no less */
#define QUOTED 100      /* bytes of a line that is not understood */
#define SELDOM 10       /* one time of so many goes back where two packets were swapped, not more */

/* What tcpdump prints behind addresses if another packet follows, in this line or the next one. A
 * new tunnel's words belong here. */
static const char *const tunnels[] = {
    "IP ", "IP6 ", "(tos ", "(class ", "(flowlabel ", "(hlim ", /* IP in IP */
    "GRE", "VXLAN", "Geneve", "MPLS", "PPPoE", "l2tp:", "LISP", "NSH", "OTV",
    "HBH", "DSTOPT", "RT6", "srcrt", "frag", "mobility", "AH(", "IPComp(", "ESP(",
    NULL
};

/* What an ICMP error says, in a few words: of several that fit the first counts. */
static const struct {
    const char *printed;
    const char *says;
} errors[] = {
    { "need to frag", "need to frag" },
    { "admin prohibited", "admin prohibited" },
    { "unreachable prohibited", "admin prohibited" },
    { "port", "port unreachable" },
    { "protocol", "protocol unreachable" },
    { "net ", "net unreachable" },
    { "unreachable", "host unreachable" },
    { "time exceeded", "time exceeded" },
    { "too big", "packet too big" },
    { "redirect", "redirect" },
    { "source quench", "source quench" },
    { "parameter problem", "parameter problem" },
};

enum inside { NOTHING, TUNNEL, ERROR }; /* what lines that begin with a tab are */

/* What the lines of a packet have said before its addresses. */
struct head {
    const char *view;
    const char *icmp; /* its packet is an ICMP error that says so */
    int32_t id;
    int16_t ttl;
    bool open;        /* the addresses stand in the next line */
    enum inside inside;
};

/* "FROM > TO: REST" in a line */
struct ends {
    const char *from;
    const char *from_end;
    const char *to;
    const char *to_end;
    const char *rest;
};

struct reader {
    FILE *in;
    bool ours;
    bool filtered;
    char *line;       /* the one that is read, without its end */
    char *next;       /* the one behind it, NULL at the end */
    size_t length;
    size_t next_length;
    size_t room;
    size_t next_room;

    struct reading out;
    struct raw *raw;     /* of out.packets; not of ours */
    size_t packets_room;
    struct head head;
    const char *any;     /* view of packets recorded by "-i any" in a form that names none */
    bool tabbed;         /* the whole text is indented by a tab */

    int64_t time;        /* of the latest line that has one */
    int64_t midnights;
    int64_t sum;         /* of all times */
    int64_t first_time;
    size_t times;
    size_t equal;        /* times that are the one before */
    size_t earlier;      /* or go back */
    size_t untimed;      /* packets before the first time */

    char dump[2 * DUMP_BYTES]; /* hexadecimal digits of the latest packet */
    size_t digits;             /* in dump, and those that had no room */
    bool dumped;               /* the lines of digits are those of the latest packet */
    bool after;                /* the line before has ended a packet */
    bool ascii;                /* printed with -A */
    size_t size;               /* of the data of the latest packet, if it is TCP */
    size_t payload;            /* bytes of it that -A has still to print */

    size_t lines;
    size_t others;       /* packets that are not TCP, or no packets that can be read */
    size_t quiet;        /* printed with -q */
    size_t cut;          /* by the snap length */
    size_t undecoded;
    size_t unread;       /* lines that look like TCP */
    char *first_unread;
    char *message;       /* tcpdump's */
    const char *format;  /* of a file that cannot be read, and the way out */
};

/* ---- lines ----------------------------------------------------------------------------------- */
static const char *skip_blanks(const char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    return s;
}

/* Skips what stands before the lines of others in a mail. */
static const char *skip_quotes(const char *s)
{
    while (*s == '>')
        s += s[1] == ' ' ? 2 : 1;
    return s;
}

/* Reads a line into r->next, which becomes NULL at the end. */
static void fetch(struct reader *r)
{
    ssize_t n = getline(&r->next, &r->next_room, r->in);

    if (n < 0) {
        free(r->next);
        r->next = NULL;
        r->next_room = 0;
        return;
    }
    for (char *zero = r->next; (zero = memchr(zero, '\0', (size_t)(r->next + n - zero))) != NULL; )
        *zero = '.';
    while (n > 0 && (r->next[n - 1] == '\n' || r->next[n - 1] == '\r'))
        n--;
    r->next[n] = '\0';
    r->next_length = (size_t)n;
}

/* Goes on to the next line. False at the end. */
static bool next_line(struct reader *r)
{
    char *line = r->line;
    size_t room = r->room;

    if (!r->next)
        return false;
    r->line = r->next;
    r->room = r->next_room;
    r->length = r->next_length;
    r->next = line;
    r->next_room = room;
    fetch(r);
    return true;
}

/* Does a line begin at S, or does it go on with the one before it, folded by a terminal? */
static bool goes_on(const char *s)
{
    return *s && *s != '\t' && !behind(s, "    ") && !behind(s, "IP")
        && !(is_digit(s[0]) && is_digit(s[1]) && s[2] == ':');
}

/* Joins a line that a terminal of 80 columns has folded. */
static void unfold(struct reader *r)
{
    bool full = r->length == FOLDED && is_digit(*r->line);

    while (full && r->next && goes_on(r->next)) {
        char *old = r->line;
        full = r->next_length == FOLDED;
        r->line = resize(NULL, r->length + r->next_length + 1, 1);
        memcpy(r->line, old, r->length);
        memcpy(r->line + r->length, r->next, r->next_length + 1);
        r->room = r->length + r->next_length + 1;
        r->length += r->next_length;
        free(old);
        fetch(r);
    }
}

/* Copies FROM to TO, but of each gap that a terminal of another width has torn into it only GLUE. */
static void mend(const char *from, char *to, const char *glue)
{
    while (*from) {
        size_t spaces = strspn(from, " ");
        if (spaces >= TEAR) {
            from += spaces;
            for (const char *c = glue; *c; c++)
                *to++ = *c;
        } else if (spaces > 0) {
            memcpy(to, from, spaces);
            from += spaces;
            to += spaces;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

/* ---- times ----------------------------------------------------------------------------------- */
/* Digits behind a point as microseconds. Returns what is behind them. */
static const char *read_fraction(const char *s, int64_t *microseconds)
{
    int64_t unit = SECOND / 10;

    *microseconds = 0;
    for (; is_digit(*s); s++) {
        *microseconds += (*s - '0') * unit;
        unit /= 10;
    }
    return s;
}

static int two_digits(const char *s)
{
    return is_digit(s[0]) && is_digit(s[1]) ? (s[0] - '0') * 10 + (s[1] - '0') : -1;
}

/* HH:MM:SS.ffffff. Returns what is behind it, NULL if it is none. */
static const char *read_clock(const char *s, int64_t *time)
{
    int64_t fraction;
    int hour = two_digits(s);
    int minute = hour >= 0 && s[2] == ':' ? two_digits(s + 3) : -1;
    int second = minute >= 0 && s[5] == ':' ? two_digits(s + 6) : -1;

    if (second < 0 || s[8] != '.' || !is_digit(s[9]))
        return NULL;
    s = read_fraction(s + 9, &fraction);
    *time = ((hour * 60 + minute) * 60 + second) * INT64_C(1000000) + fraction;
    return s;
}

/* Seconds since 1970, with at least six digits behind the point. */
static const char *read_seconds(const char *s, int64_t *time)
{
    int64_t seconds;
    int64_t fraction;
    const char *point = read_number(s, &seconds);
    const char *end;

    if (!point || *point != '.')
        return NULL;
    end = read_fraction(point + 1, &fraction);
    if (end - point <= 6)
        return NULL;
    *time = seconds * SECOND + fraction;
    return end;
}

/* YYYY-MM-DD as days since 1970. Years begin in March, so that a leap day is the last of a year. */
static bool read_date(const char *s, int64_t *days)
{
    int64_t year;
    int64_t month;
    int64_t day;

    s = read_number(s, &year);
    if (!s || *s != '-')
        return false;
    month = two_digits(s + 1);
    if (month < 1 || s[3] != '-')
        return false;
    day = two_digits(s + 4);
    if (day < 1 || year > 9999)
        return false;
    year -= month < 3;
    month = (month + 9) % 12;
    *days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719469;
    return true;
}

/* Remembers the TIME of a line, and what tells -ttt. */
static void take_time(struct reader *r, int64_t time)
{
    if (r->out.clock == NO_TIMES) {
        r->untimed = r->out.count;
        r->first_time = time;
    }
    r->times++;
    r->equal += time == r->time;
    r->earlier += time < r->time;
    r->sum += time;
    r->time = time;
}

static void take_time_of_day(struct reader *r, int64_t time, int64_t days)
{
    if (days != ABSENT)
        time += days * DAY;
    else if (time + r->midnights < r->time - DAY / 2)
        r->midnights += DAY;
    take_time(r, days == ABSENT ? time + r->midnights : time);
    r->out.clock = TIME_OF_DAY;
}

/* Reads the time of the line at S, if it has one. Returns what is behind it, else S. */
static const char *read_time(struct reader *r, const char *s, bool *timed)
{
    const char *start = s;
    const char *end = NULL;
    int64_t days = ABSENT;
    int64_t time;
    int64_t found = ABSENT;
    bool of_day = false;

    while (*s && *s != '>' && *s != '(' && !behind(s, "IP")) {
        if (is_digit(*s) && (end = read_clock(s, &time)) != NULL) {
            of_day = true;
        } else if (is_digit(*s) && (end = read_seconds(s, &time)) != NULL) {
            of_day = false;
        } else {
            if (is_digit(*s))
                read_date(s, &days);
            s += strcspn(s, " \t");
            s = skip_blanks(s);
            continue;
        }
        if (*end == ' ' || *end == '\t') {
            found = time;
            start = skip_blanks(end);
        }
        s = skip_blanks(end + strcspn(end, " \t"));
    }
    *timed = found != ABSENT;
    if (*timed && of_day) {
        take_time_of_day(r, found, days);
    } else if (*timed) {
        take_time(r, found);
        r->out.clock = SINCE_1970;
    }
    return start;
}

/* ---- addresses ------------------------------------------------------------------------------- */
static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '.' || c == ':' || c == '-' || c == '_'
        || c == '%' || (c >= 'A' && c <= 'Z');
}

/* Where the word begins that ends at S, not before START. */
static const char *begin_of_word(const char *start, const char *s)
{
    while (s > start && is_name(s[-1]))
        s--;
    return s;
}

/* Where the name begins that ends at END. If it has spaces, it is known to begin behind "IP", or at
 * START if there are no WORDS before addresses. Returns END if there is none. */
static const char *begin_of_name(const char *start, const char *end, bool words)
{
    const char *word = begin_of_word(start, end);
    const char *name = word;

    if (is_digit(*word) || word == end)
        return word;
    for (int i = 0; i < NAME_WORDS; i++) {
        const char *before;
        if (name == start)
            return words ? word : name;
        if (name[-1] != ' ')
            return word;
        before = begin_of_word(start, name - 1);
        if (behind(before, "IP ") || behind(before, "IP6 "))
            return name;
        if (before == name - 1)
            return word;
        name = before;
    }
    return word;
}

/* Where the name that begins at S ends, before its colon. NULL if it is none. */
static const char *end_of_name(const char *s)
{
    const char *start = s;

    for (int i = 0; i < NAME_WORDS; i++) {
        const char *word = s;
        while (is_name(*s))
            s++;
        if (s == word)
            return NULL;
        if (s[-1] == ':' && (*s == ' ' || *s == '\0'))
            return s - 1;
        if (*s != ' ' || is_digit(*start))
            return NULL;
        s++;
    }
    return NULL;
}

/* Finds "FROM > TO: REST" at or behind S. WORDS: others may stand before it. */
static bool find_ends(const char *s, bool words, struct ends *ends)
{
    const char *arrow = s;

    while ((arrow = strstr(arrow, " > ")) != NULL) {
        ends->from = begin_of_name(s, arrow, words);
        ends->from_end = arrow;
        ends->to = arrow + 3;
        ends->to_end = end_of_name(arrow + 3);
        arrow += 3;
        if (ends->to_end && ends->from < ends->from_end) {
            ends->rest = skip_blanks(ends->to_end + 1);
            return true;
        }
    }
    return false;
}

/* The end that is written from S to STOP: ADDRESS.PORT, or a port if the address stood before it:
 * OUTER to OUTER_STOP. NULL if it is none. */
static const char *read_end(const char *s, const char *stop, const char *outer,
    const char *outer_stop)
{
    char both[2 * LONGEST_END];
    size_t n = (size_t)(stop - s);
    size_t outer_n;
    size_t dots = 0;
    bool number = true;

    if (n > LONGEST_END)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        dots += s[i] == '.';
        number = number && (s[i] == '.' || is_digit(s[i]));
    }
    if (dots == 0 && outer && !memchr(s, ':', n)) { /* behind IPv6 extension headers */
        outer_n = (size_t)(outer_stop - outer);
        if (outer_n >= LONGEST_END)
            return NULL;
        memcpy(both, outer, outer_n);
        both[outer_n] = '.';
        memcpy(both + outer_n + 1, s, n);
        return intern(both, outer_n + 1 + n);
    }
    if (dots == 0 || s[0] == '.' || s[n - 1] == '.' || (number && dots != 4))
        return NULL;
    return intern(s, n);
}

/* ---- packets --------------------------------------------------------------------------------- */
/* Room for one more packet. */
static struct packet *new_packet(struct reader *r)
{
    if (r->out.count == r->packets_room) {
        r->packets_room = r->packets_room ? 2 * r->packets_room : 1024;
        r->out.packets = resize(r->out.packets, r->packets_room, sizeof *r->out.packets);
        if (!r->ours)
            r->raw = resize(r->raw, r->packets_room, sizeof *r->raw);
    }
    return &r->out.packets[r->out.count];
}

/* Takes the packet with these ENDS; OUTER are those of a packet around it, or NULL. False if it
 * cannot be read. */
static bool take_packet(struct reader *r, const struct ends *ends, const struct ends *outer)
{
    struct packet *p = new_packet(r);
    int64_t stamp = ABSENT;
    bool error_cut = r->head.icmp && behind(ends->rest, "[|tcp]");

    *p = (struct packet){ .time = r->time, .view = r->head.view ? r->head.view : r->any,
        .icmp = r->head.icmp, .seq = ABSENT, .end = ABSENT, .ack = ABSENT, .sack = ABSENT,
        .window = -1, .id = r->head.id, .ttl = r->head.ttl, .note = "" };
    if (!error_cut && !read_fields(ends->rest, p, &stamp))
        return false;
    p->from = read_end(ends->from, ends->from_end, outer ? outer->from : NULL,
        outer ? outer->from_end : NULL);
    p->to = read_end(ends->to, ends->to_end, outer ? outer->to : NULL,
        outer ? outer->to_end : NULL);
    if (!p->from || !p->to)
        return false;
    if (p->icmp) { /* they are those of the packet that it quotes */
        p->id = -1;
        p->ttl = -1;
    }
    if (!r->ours)
        r->raw[r->out.count] = (struct raw){ r->sum, stamp };
    r->out.count++;
    r->dumped = true;
    r->size = p->size;
    return true;
}

/* What the ICMP error at S says, NULL if it is no error that quotes a packet. */
static const char *read_error(const char *s)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strstr(s, errors[i].printed))
            return errors[i].says;
    return NULL;
}

static bool is_tunnel(const char *s)
{
    for (size_t i = 0; tunnels[i]; i++)
        if (behind(s, tunnels[i]))
            return true;
    return false;
}

/* Is this TCP, in the words of tcpdump 4 or 3? */
static bool is_tcp(const char *s)
{
    int64_t stamp;
    struct packet p = { .seq = ABSENT, .ack = ABSENT };

    return read_fields(s, &p, &stamp);
}

/* Is there, in a line that has been read, a whole packet behind unknown words? */
static bool hides_packet(const char *s)
{
    const char *hidden = strstr(s, ": Flags [");

    return hidden && is_tcp(hidden + 2);
}

/* Skips "[udp sum ok] " and the like. */
static const char *skip_checksum(const char *s)
{
    const char *close;

    if (*s != '[' || behind(s, "[|"))
        return s;
    close = strstr(s, "] ");
    return close ? skip_blanks(close + 2) : s;
}

/* Reads ttl and id out of "(tos 0x0, ttl 64, id 1, ..." or "(hlim 64, ..." at or behind S, before
 * STOP, which may be NULL. False if that is not there. */
static bool read_ip(struct reader *r, const char *s, const char *stop)
{
    const char *open;
    const char *word;
    int64_t number;

    if (s == stop)
        return false;
    open = strstr(s, "(tos 0x");
    if (open && (!stop || open < stop)) {
        word = strstr(open, "ttl ");
        if (word && read_number(word + 4, &number) && number <= UINT8_MAX)
            r->head.ttl = (int16_t)number;
        word = strstr(open, ", id ");
        if (word && read_number(word + 5, &number) && number <= UINT16_MAX)
            r->head.id = (int32_t)number;
        return true;
    }
    word = strstr(s, "hlim ");
    if (!word || (stop && word > stop))
        return false;
    r->head.id = -1;
    if (read_number(word + 5, &number) && number <= UINT8_MAX)
        r->head.ttl = (int16_t)number;
    return true;
}

/* Reads what stands at S, behind the time: the words of a packet or a part of it. False if it looks
 * like TCP and is not understood. */
static bool read_words(struct reader *r, const char *s, bool words)
{
    struct ends ends;
    struct ends outer;
    bool within = false;

    while (find_ends(s, words, &ends)) {
        const char *rest = skip_checksum(ends.rest);
        read_ip(r, s, ends.from);
        r->others++;
        r->after = true;
        r->size = 0;
        r->payload = 0;
        if (behind(ends.rest, "Flags [") || is_tcp(ends.rest)
            || (r->head.icmp && behind(rest, "[|tcp]")))
            return take_packet(r, &ends, within ? &outer : NULL);
        if (behind(rest, "[|tcp]")) {
            r->cut++;
            return true;
        }
        if (behind(rest, "tcp ")) {
            r->quiet++;
            return true;
        }
        if (behind(rest, "ICMP")) {
            r->head.icmp = read_error(rest);
            r->head.inside = ERROR;
            return true;
        }
        if (!is_tunnel(rest) && !(find_ends(rest, true, &outer) && outer.from == rest))
            return !hides_packet(rest);
        outer = ends;
        within = true;
        words = true;
        s = rest;
        r->head.inside = TUNNEL;
    }
    r->head.open = read_ip(r, s, NULL);
    if (r->head.open)
        return true;
    if (strstr(s, " bad-len 0"))
        r->undecoded++;
    return !hides_packet(s);
}

/* "eth0 In" before the addresses, or of macOS "(en0, proc ..., out, so)". NULL if it is not there. */
static const char *read_view(const char *s)
{
    static const char *const ways[] = { "In ", "Out ", "P ", "B ", "M " };
    const char *before = NULL;
    size_t before_n = 0;

    for (int i = 0; i < NAME_WORDS && *s; i++) {
        size_t n = strcspn(s, " \t");
        if (behind(s, "IP") || *s == '(')
            return NULL;
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
            char both[LONGEST_END];
            if (!behind(s, ways[way]))
                continue;
            if (!before)
                return intern(s, n);
            if (before_n + 1 + n > sizeof both)
                return NULL;
            memcpy(both, before, before_n);
            both[before_n] = ' ';
            memcpy(both + before_n + 1, s, n);
            return intern(both, before_n + 1 + n);
        }
        before = s;
        before_n = n;
        s = skip_blanks(s + n);
    }
    return NULL;
}

/* Reads a line that begins at S, behind its time if it is TIMED. TAB: it begins with a tab;
 * INDENTED: with four spaces. False if it looks like TCP and is not understood. */
static bool read_packet(struct reader *r, const char *s, bool timed, bool tab, bool indented)
{
    bool second = r->head.open && !timed;
    bool inner = tab && r->head.inside != NOTHING;
    struct head *head = &r->head;

    r->dumped = false;
    if (!second && !inner) {
        const char *view = read_view(s);
        if (!view && !timed && head->inside == TUNNEL)
            view = head->view;
        *head = (struct head){ .view = view, .id = -1, .ttl = -1 };
    }
    head->open = false;
    if (!inner || strstr(s, " > "))
        head->inside = timed ? TUNNEL : NOTHING;
    return read_words(r, s, timed || !(second || indented));
}

/* ---- bytes of packets ------------------------------------------------------------------------ */
/* Takes "0x0010:  7f00 0001 ...  ASCII", printed by -x or -X. False if S is none. */
static bool take_bytes(struct reader *r, const char *s)
{
    s = behind(s, "0x");
    if (!s)
        return false;
    s += strspn(s, "0123456789abcdef");
    s = behind(s, ":  ");
    if (!s)
        return false;
    while (r->dumped && *s && *s != ' ' && *s != '\t') { /* two spaces end them */
        size_t n = strspn(s, "0123456789abcdef");
        for (size_t i = 0; i < n; i++, r->digits++)
            if (r->digits < sizeof r->dump)
                r->dump[r->digits] = s[i];
        s += n;
        if (n == 0 || *s != ' ')
            break;
        s++;
    }
    return true;
}

/* The number that N hexadecimal digits of the dump at AT are. */
static unsigned dump_number(const struct reader *r, size_t at, size_t n)
{
    char digits[9] = "";

    memcpy(digits, r->dump + at, n);
    return (unsigned)strtoul(digits, NULL, 16);
}

/* How many digits the IP packet has that begins at digit AT, 0 if there is none. */
static size_t ip_digits(const struct reader *r, size_t at)
{
    size_t bytes = 0;

    if (at + 40 > r->digits || at + 40 > sizeof r->dump)
        return 0;
    if (r->dump[at] == '4' && r->dump[at + 1] >= '5')
        bytes = dump_number(r, at + 4, 4);
    else if (r->dump[at] == '6')
        bytes = dump_number(r, at + 8, 4) + 40;
    return at + 2 * bytes <= r->digits ? 2 * bytes : 0;
}

/* Puts into the latest packet what the dump of its bytes says: its data, which ends where the
 * packet ends; and what was printed without -v. */
static void end_dump(struct reader *r)
{
    struct packet *p = &r->out.packets[r->out.count - 1];
    size_t available = r->digits < sizeof r->dump ? r->digits : sizeof r->dump;
    size_t wanted = 2 * (p->size < DATA_BYTES ? p->size : DATA_BYTES);
    size_t at = 0;
    size_t data;

    while (at < available && ip_digits(r, at) == 0) /* words of a link may stand before it */
        at += 4;
    data = at + ip_digits(r, at) - 2 * (size_t)p->size;
    if (at < available && wanted > 0 && !p->icmp && data >= at && data + wanted <= available)
        p->data = keep(r->dump + data, wanted);
    if (at == 0 && available > 20 && p->ttl < 0 && !p->icmp && r->dump[0] == '4') {
        p->id = (int32_t)dump_number(r, 8, 4);
        p->ttl = (int16_t)dump_number(r, 16, 2);
    }
    r->digits = 0;
    r->dumped = false;
}

/* Do bytes begin at S that -A has printed? E is the first byte of IPv4, and its protocol is no
 * letter; that of IPv6 is `. */
static bool is_ascii_dump(const char *s)
{
    if (*s == 'E')
        return strlen(s) > 20 && s[9] == '.';
    return *s == '`' && strlen(s) > 40 && s[6] == '.';
}

/* Does the line at S belong to bytes that -A has printed? What looks like a packet may stand in
 * them; but a packet is followed by bytes of its own, with -v by another line before them. */
static bool is_payload(struct reader *r, const char *s)
{
    size_t n = strlen(s) + 2; /* -A leaves out the CR of CR LF */
    const char *next = r->next ? skip_quotes(r->next) : "";

    if (r->after && is_ascii_dump(s)) {
        r->ascii = true;
        r->payload = HEADERS + r->size;
    } else if (is_ascii_dump(next) || (behind(next, "    ") && strstr(s, "(tos 0x"))) {
        r->payload = 0;
    }
    if (r->payload == 0 || !r->ascii)
        return false;
    r->payload -= n < r->payload ? n : r->payload;
    return true;
}

/* ---- complaints ------------------------------------------------------------------------------ */
/* Files of other tools: their first bytes, what they are, and the way out. */
static const struct {
    const char *begin;
    const char *complaint;
} formats[] = {
    { "\x1f\x8b", "compressed (zcat FILE | scripts/ladder.sh -)" },
    { "BZh", "compressed (bzcat FILE | scripts/ladder.sh -)" },
    { "\xfd" "7zXZ", "compressed (xzcat FILE | scripts/ladder.sh -)" },
    { "\x28\xb5\x2f\xfd", "compressed (zstdcat FILE | scripts/ladder.sh -)" },
    { "PK\x03\x04", "compressed (unzip -p FILE | scripts/ladder.sh -)" },
    { "snoop", "a recording of snoop (editcap -F pcap FILE X.pcap)" },
    { "GMBU", "a recording of NetMon (editcap -F pcap FILE X.pcap)" },
    { "\x54\x52\x53\x4e", "a recording of the Sniffer (editcap -F pcap FILE X.pcap)" },
};

static void recognize(struct reader *r, const char *s)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (behind(s, formats[i].begin))
            r->format = formats[i].complaint;
}

/* What is wrong with N lines or packets, into a string that lasts. */
static char *complain(size_t n, const char *thing, const char *words)
{
    char text[512];
    int length = snprintf(text, sizeof text, "%zu %s%s %s", n, thing, n == 1 ? "" : "s", words);

    if (length < 0)
        return NULL;
    return keep(text, strlen(text));
}

/* The complaint that tcpdump's MESSAGE makes. */
static char *complain_of(const char *message)
{
    char text[512];
    const char *way_out = "tcpdump -r says so";
    const char *before = "";
    const char *loop = behind(message, "pcap_loop: ");

    if (loop)
        message = loop;
    if (behind(message, "unknown file")) {
        message = "not a recording";
        way_out = "scripts/capture.sh writes some";
    } else if (strstr(message, "filter expression")) {
        before = "FILTER: ";
        way_out = "man pcap-filter";
    } else if (behind(message, "truncated")) {
        way_out = "stop the recorder before its file is read";
    }
    if (snprintf(text, sizeof text, "%s%.300s (%s)", before, message, way_out) < 0)
        return NULL;
    return keep(text, strlen(text));
}

/* Why there is no packet in it. */
static const char *why_none(const struct reader *r)
{
    if (r->format)
        return r->format;
    if (r->quiet > 0)
        return "tcpdump -q leaves out the flags (print it without -q)";
    if (r->filtered)
        return "no TCP in it that FILTER chooses (tcpdump -r shows what there is)";
    if (r->others > 0)
        return "no TCP in it (scripts/capture.sh records some)";
    if (r->ours)
        return "no packets in it (scripts/capture.sh records some)";
    if (r->lines == 0)
        return "empty file (scripts/capture.sh records one)";
    return "neither a recording nor text of tcpdump (capture.sh records)";
}

/* What is wrong with all that was read, and the way out. NULL if nothing is. */
static char *complaint(const struct reader *r)
{
    const char *why;
    char text[QUOTED + 100];

    if (r->message)
        return complain_of(r->message);
    if (r->cut > 0)
        return complain(r->cut, "TCP packet", "cut too short by the snap length (tcpdump -s 128)");
    if (r->undecoded > 0)
        return complain(r->undecoded, "packet", "that tcpdump cannot decode: bad-len 0 (-r)");
    if (r->unread > 0) {
        snprintf(text, sizeof text, "not understood, cut or with unknown words: \"%s\" "
            "(tcpdump -nn -r prints others)", r->first_unread);
        return complain(r->unread, "line of TCP", text);
    }
    if (r->out.count > 0)
        return NULL;
    why = why_none(r);
    return keep(why, strlen(why));
}

/* ---- all lines ------------------------------------------------------------------------------- */
/* Lines that are no packet's: what tcpdump and other tools say of theirs. */
static bool is_message(struct reader *r, const char *s)
{
    const char *message = behind(s, "tcpdump: ");

    if (r->lines == 1 && !r->ours)
        recognize(r, s);
    if (message && r->ours && !behind(message, "WARNING"))
        r->message = keep(message, strlen(message));
    if (behind(s, "reading from file ") || behind(s, "listening on ")) {
        if (strstr(s, "link-type LINUX_SLL ("))
            r->any = intern("any", 3);
        return true;
    }
    if (r->others == 0 && strstr(s, " Seq=") && strstr(s, " Len="))
        r->format = "text of tshark or Wireshark (draw the recording: tshark -r X -w Y.pcap)";
    return message != NULL;
}

/* Reads the packet in the line that has been torn at S by a terminal of another width: a gap stands
 * for a space of the line, or for nothing. */
static bool read_torn(struct reader *r, const char *s, bool timed)
{
    char *mended = resize(NULL, strlen(s) + 1, 1);
    struct head before = r->head;
    size_t count = r->out.count;
    bool read;

    mend(s, mended, " ");
    read = read_packet(r, mended, timed, false, false);
    if (r->out.count == count) {
        r->head = before;
        mend(s, mended, "");
        read = read_packet(r, mended, timed, false, false);
    }
    free(mended);
    return read;
}

static void take_line(struct reader *r)
{
    const char *line = r->ours ? r->line : skip_quotes(r->line);
    const char *s = skip_blanks(line);
    bool indented = behind(line, "    ");
    bool tab;
    bool timed;
    bool read;

    r->lines++;
    if (take_bytes(r, s))
        return;
    if (r->digits > 0)
        end_dump(r);
    if (*line == '\t' && r->others == 0 && r->times == 0)
        r->tabbed = true;
    tab = line[*line == '\t' && r->tabbed] == '\t';
    if (is_payload(r, line) || (tab && r->head.inside == NOTHING && !r->head.open))
        return;
    r->after = false;
    if (is_message(r, s))
        return;
    s = read_time(r, s, &timed);
    if (!r->ours && strstr(s, "        ")) /* TEAR spaces */
        read = read_torn(r, s, timed);
    else
        read = read_packet(r, s, timed, tab, indented);
    if (read || (r->ascii && !timed))
        return;
    r->unread++;
    if (!r->first_unread)
        r->first_unread = keep(s, strlen(s) < QUOTED ? strlen(s) : QUOTED);
}

struct reading read_packets(FILE *in, bool ours, bool filtered)
{
    struct reader r = { .in = in, .ours = ours, .filtered = filtered };
    bool differences;

    r.out.clock = NO_TIMES;
    fetch(&r);
    while (next_line(&r)) {
        if (!ours)
            unfold(&r);
        take_line(&r);
    }
    free(r.line);
    if (r.digits > 0)
        end_dump(&r);
    if (!ours) {
        differences = r.first_time == 0
            && (r.earlier * SELDOM > r.times || 2 * (r.earlier + r.equal) > r.times);
        make_absolute(&r.out);
        make_times(&r.out, r.raw, r.untimed, differences);
    }
    free(r.raw);
    r.out.complaint = complaint(&r);
    return r.out;
}
