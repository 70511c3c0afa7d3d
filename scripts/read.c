/* read.c - what tcpdump printed becomes packets.
 *
 * In: lines, of a recording (read_packets(..., ours)) or out of somebody's mail, report or log,
 * printed with whatever options, with other text around them. Out: a struct packet for each packet
 * of TCP, and for each ICMP error that quotes one.
 *
 * A packet is "TIME WORDS FROM > TO: FIELDS". The words of a link may be any, for no payload can
 * stand before the first addresses. Behind those only the words of tunnels lead to another packet:
 * all else is payload. With -v there are more lines:
 *
 *   TIME WORDS IP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto GRE (47), length 64)
 *       FROM > TO: GREv0, Flags [none], length 44
 *   <tab>IP (tos 0x0, ttl 63, id 9, offset 0, flags [DF], proto TCP (6), length 40)
 *       FROM > TO: Flags [S], ...
 */
#include "read.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST_END 280 /* bytes: a name has at most 253, and a port */
#define NAME_WORDS 3    /* a name in somebody's /etc/hosts may have spaces */
#define NESTED 8        /* packets in packets: more are no tunnels, but somebody's joke */

/* What tcpdump prints behind addresses if another packet follows, in this line or the next one. A
 * new tunnel's words belong here. */
static const char *const tunnels[] = {
    "IP ", "IP6 ", "(tos ", "(class ", "(flowlabel ", "(hlim ", /* IP in IP */
    "GRE", "VXLAN", "Geneve", "MPLS", "PPPoE", "l2tp:", "LISP", "NSH", "OTV",
    "HBH", "DSTOPT", "RT6", "srcrt", "frag", "mobility", "AH(", "IPComp(", "ESP(",
};

/* What an ICMP error says, in a few words: of several that fit the first counts. */
static const struct {
    const char *printed;
    const char *says;
} errors[] = {
    { "need to frag", "need to frag" },
    { "admin prohibited", "admin prohibited" },
    { "port", "port unreachable" },
    { "protocol", "protocol unreachable" },
    { "net ", "net unreachable" },
    { "unreachable", "host unreachable" },
    { "time exceeded", "time exceeded" },
    { "redirect", "redirect" },
    { "source quench", "source quench" },
    { "parameter problem", "parameter problem" },
};

enum inside { NOTHING, TUNNEL, ERROR }; /* the lines behind a line, if they begin with a tab */

/* What the lines of a packet have said before its addresses. */
struct head {
    const char *view;
    const char *icmp; /* its packet is quoted by an ICMP error that says so */
    int32_t id;
    int16_t ttl;
    bool open;        /* the addresses stand in the next line */
    enum inside inside;
};

/* "FROM > TO: REST" in a line */
struct ends {
    const char *from;
    size_t from_n;
    const char *to;
    size_t to_n;
    const char *rest;
};

struct reader {
    struct lines lines;
    struct times times;
    struct head head;
    struct dump dump;
    struct found found;
    struct reading out;
    struct raw *raw;      /* of out.packets; not of ours */
    size_t room;          /* packets for which memory is there */
    size_t untimed;       /* packets before the first time */
    bool tabbed;          /* a tab stands before all lines */
    bool behind_packet;   /* the line before has ended a packet */
    struct packet *tcp;   /* that one, if it is TCP, else NULL */
};

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

    if (word > start && !strchr(" \t{!", word[-1])) /* behind "l2tp:... {", "... bytes missing!" */
        return end;
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
        const char *from = begin_of_name(s, arrow, words);
        const char *to = arrow + 3;
        const char *colon = end_of_name(to);
        if (colon && from < arrow) {
            *ends = (struct ends){ from, (size_t)(arrow - from), to, (size_t)(colon - to),
                skip_blanks(colon + 1) };
            return true;
        }
        arrow = to;
    }
    return false;
}

/* ADDRESS.PORT, where the address stood before: behind IPv6 extension headers. */
static const char *join_end(const char *address, size_t address_n, const char *port, size_t port_n)
{
    char both[2 * LONGEST_END];

    if (address_n > LONGEST_END || port_n > LONGEST_END - 1)
        return NULL;
    memcpy(both, address, address_n);
    both[address_n] = '.';
    memcpy(both + address_n + 1, port, port_n);
    return intern(both, address_n + 1 + port_n);
}

/* The end of N bytes at S: ADDRESS.PORT, or PORT with the address that stood before it, OUTER, or
 * NULL. Returns NULL if it is none. */
static const char *read_end(const char *s, size_t n, const char *outer, size_t outer_n)
{
    size_t dots = 0;
    bool number = true;

    if (n > LONGEST_END)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        dots += s[i] == '.';
        number = number && (s[i] == '.' || is_digit(s[i]));
    }
    if (dots == 0 && outer && !memchr(s, ':', n))
        return join_end(outer, outer_n, s, n);
    if (dots == 0 || s[0] == '.' || s[n - 1] == '.' || (number && dots != 4))
        return NULL;
    return intern(s, n);
}

/* ---- packets --------------------------------------------------------------------------------- */
/* Room for one more packet. */
static struct packet *new_packet(struct reader *r)
{
    if (r->out.count == r->room) {
        r->room = r->room ? 2 * r->room : 1024;
        r->out.packets = checked(realloc(r->out.packets, r->room * sizeof *r->out.packets));
        if (!r->found.ours)
            r->raw = checked(realloc(r->raw, r->room * sizeof *r->raw));
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

    *p = (struct packet){ .time = r->times.time, .view = r->head.view,
        .icmp = r->head.icmp, .seq = ABSENT, .end = ABSENT, .ack = ABSENT,
        .window = -1, .id = r->head.id, .ttl = r->head.ttl, .note = "" };
    if (!error_cut && !read_fields(ends->rest, p, &stamp))
        return false;
    p->from = read_end(ends->from, ends->from_n, outer ? outer->from : NULL,
        outer ? outer->from_n : 0);
    p->to = read_end(ends->to, ends->to_n, outer ? outer->to : NULL, outer ? outer->to_n : 0);
    if (!p->from || !p->to)
        return false;
    if (p->icmp) { /* they are those of the packet that it quotes */
        p->id = -1;
        p->ttl = -1;
    }
    if (!r->found.ours)
        r->raw[r->out.count] = (struct raw){ r->times.sum, stamp };
    r->untimed += r->times.count == 0;
    r->out.count++;
    r->tcp = p;
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
    for (size_t i = 0; i < sizeof tunnels / sizeof *tunnels; i++)
        if (behind(s, tunnels[i]))
            return true;
    return false;
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

    for (int depth = 0; depth < NESTED && find_ends(s, words, &ends); depth++) {
        const char *rest = skip_checksum(ends.rest);
        read_ip(r, s, ends.from);
        r->found.packets++;
        r->behind_packet = true;
        if (behind(ends.rest, "Flags [") || is_tcp(ends.rest)
            || (r->head.icmp && behind(rest, "[|tcp]")))
            return take_packet(r, &ends, within ? &outer : NULL);
        if (behind(rest, "[|tcp]")) {
            r->found.cut++;
            return true;
        }
        if (behind(rest, "tcp ")) {
            r->found.quiet++;
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
        r->found.undecoded++;
    return !hides_packet(s);
}

/* "eth0 In" before the addresses. NULL if it is not there. */
static const char *read_view(const char *s)
{
    static const char *const ways[] = { "In ", "Out ", "P ", "B ", "M " };
    const char *start = s;

    for (int words = 0; words < 2; words++) {
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            const char *end = behind(s, ways[i]);
            if (end)
                return intern(start, (size_t)(end - 1 - start));
        }
        while (*s > ' ' && *s <= '~' && *s != '(')
            s++;
        s = skip_blanks(s);
    }
    return NULL;
}

/* Reads a line that begins at S, behind its time if it is TIMED. TAB: it begins with a tab;
 * INDENTED: with four spaces. False if it looks like TCP and is not understood. */
static bool read_packet(struct reader *r, const char *s, bool timed, bool tab, bool indented)
{
    struct head *head = &r->head;
    bool second = head->open && !timed;
    bool inner = tab && head->inside != NOTHING;

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

/* Is S what tcpdump says of itself or of a recording? */
static bool is_message(struct reader *r, const char *s)
{
    const char *message = behind(s, "tcpdump: ");

    if (message && r->found.ours && !behind(message, "WARNING"))
        r->found.message = keep(message, strlen(message));
    if (message)
        return true;
    return behind(s, "reading from file ") || behind(s, "listening on ");
}

/* Does the line belong to the bytes of the packet before it? TAB: it begins with one. */
static bool is_payload(struct reader *r, const char *line, bool tab)
{
    const char *next = r->lines.next ? skip_quotes(r->lines.next) : "";

    if (take_bytes(&r->dump, skip_blanks(line), r->tcp))
        return true;
    if (r->tcp && r->dump.count > 0)
        end_bytes(&r->dump, r->tcp);
    if (take_ascii(&r->dump, line, next, r->behind_packet, r->tcp ? r->tcp->size : 0))
        return true;
    return tab && r->head.inside == NOTHING && !r->head.open;
}

static void take_line(struct reader *r)
{
    const char *line = r->found.ours ? r->lines.line : skip_quotes(r->lines.line);
    const char *s = skip_blanks(line);
    bool indented = behind(line, "    ");
    bool tab;
    bool timed;

    r->found.lines++;
    if (r->found.packets == 0 && !r->found.ours)
        recognize(&r->found, s);
    if (*line == '\t' && r->found.packets == 0 && r->times.count == 0)
        r->tabbed = true;
    tab = line[*line == '\t' && r->tabbed] == '\t';
    if (is_payload(r, line, tab))
        return;
    r->behind_packet = false;
    r->tcp = NULL;
    if (is_message(r, s))
        return;
    s = read_time(&r->times, s, &timed);
    if (!read_packet(r, s, timed, tab, indented) && (timed || !r->dump.ascii))
        note_unread(&r->found, s);
}

struct reading read_packets(FILE *in, bool ours, bool filtered)
{
    struct reader r = { .found = { .ours = ours, .filtered = filtered },
        .times = { .clock = NO_TIMES } };

    open_lines(&r.lines, in, !ours);
    while (next_line(&r.lines))
        take_line(&r);
    if (r.tcp && r.dump.count > 0)
        end_bytes(&r.dump, r.tcp);
    r.out.clock = r.times.clock;
    if (!ours) {
        make_absolute(&r.out);
        make_times(&r.out, r.raw, r.untimed, are_differences(&r.times));
    }
    free(r.raw);
    r.out.complaint = complaint(&r.found, r.out.count);
    return r.out;
}
