/* fields.c - what tcpdump prints of TCP behind the addresses.
 *
 * In: "Flags [P.], seq 1:5, ack 1, win 512, options [...], length 4", or in the words of tcpdump
 * 3 and OpenBSD "P 1:5(4) ack 1 win 512 <...>". Out: the numbers of a struct packet.
 */
#include "read.h"

#include <string.h>

#define LARGEST 4294967295 /* TCP's numbers have 32 bits */

/* Reads the number at S. Returns what is behind it, NULL if there is none or it is too large. */
const char *read_number(const char *s, int64_t *number)
{
    if (!is_digit(*s))
        return NULL;
    for (*number = 0; is_digit(*s); s++) {
        *number = *number * 10 + (*s - '0');
        if (*number > LARGEST)
            return NULL;
    }
    return s;
}

static const char *skip_spaces(const char *s)
{
    while (*s == ' ')
        s++;
    return s;
}

/* Flags in the words of tcpdump 4 and 3. Returns what is behind them. */
static const char *read_flags(const char *s, uint16_t *flags)
{
    static const char letters[] = "FSRP.UEWe"; /* those of enum flag, in its order */
    const char *letter;

    *flags = 0;
    if (behind(s, "none"))
        return s + 4;
    while (*s && (letter = strchr(letters, *s)) != NULL) {
        *flags |= (uint16_t)(1 << (letter - letters));
        s++;
    }
    return s;
}

/* The TCP timestamp in the options at S. */
static void read_stamp(const char *s, int64_t *stamp)
{
    s = strstr(s, "TS val ");
    if (s && !read_number(s + 7, stamp))
        *stamp = ABSENT;
}

/* "seq 1" or "seq 1:5"; 3: "1:5(4)". Sets seq and size. Returns what is behind it, or NULL. */
static const char *read_sequence(const char *s, struct packet *p)
{
    int64_t last;

    s = read_number(s, &p->seq);
    if (!s || *s != ':')
        return s;
    s = read_number(s + 1, &last);
    if (s)
        p->size = (uint32_t)(last - p->seq);
    return s;
}

/* "win 512" */
static const char *read_window(const char *s, struct packet *p)
{
    int64_t window;

    s = read_number(s, &window);
    if (s && window <= UINT16_MAX)
        p->window = (int32_t)window;
    return s;
}

/* May a number end at S? If not, it is torn, or this is no line of tcpdump. */
static bool ends(const char *s)
{
    s = skip_spaces(s);
    return *s == '\0' || *s == ',' || *s == '}';
}

/* Are the numbers there that its flags announce? If not, the line is cut. */
static bool is_whole(const struct packet *p)
{
    bool counts = p->flags & (SYN | FIN | RST);

    return !(counts && p->seq == ABSENT) && !(p->flags & ACK && p->ack == ABSENT);
}

/* SYN and FIN count 1 each. */
static void set_end(struct packet *p)
{
    int64_t count = (int64_t)p->size + ((p->flags & SYN) != 0) + ((p->flags & FIN) != 0);

    p->end = p->seq == ABSENT ? ABSENT : (uint32_t)(p->seq + count);
}

/* The fields of tcpdump 4 behind "Flags [". */
static bool read_new_fields(const char *s, struct packet *p, int64_t *stamp)
{
    const char *close;

    s = read_flags(s, &p->flags);
    if (*s != ']')
        return false;
    for (s++; *s == ','; ) {
        const char *field;
        s = skip_spaces(s + 1);
        if ((field = behind(s, "seq")) != NULL) {
            s = read_sequence(skip_spaces(field), p);
        } else if ((field = behind(s, "ack")) != NULL) {
            s = read_number(skip_spaces(field), &p->ack);
        } else if ((field = behind(s, "win")) != NULL) {
            s = read_window(skip_spaces(field), p);
        } else if ((field = behind(s, "options [")) != NULL) {
            close = strchr(field, ']');
            if (!close)
                break;
            read_stamp(field, stamp);
            s = close + 1;
            continue;
        } else if (behind(s, "length")) {
            break;
        } else { /* cksum 0x1234 (correct), urg 1 */
            s += strcspn(s, ",");
            continue;
        }
        if (!s || !ends(s))
            return false;
        s = skip_spaces(s);
    }
    return is_whole(p);
}

/* The fields of tcpdump 3 and OpenBSD: "P 1:5(4) ack 1 win 512 <nop,nop,timestamp 1 2> (DF)" */
static bool read_old_fields(const char *s, struct packet *p, int64_t *stamp)
{
    const char *field;

    s = read_flags(s, &p->flags);
    s = skip_spaces(s);
    if (is_digit(*s)) {
        s = read_sequence(s, p);
        if (!s || *s != '(')
            return false;
        s += strcspn(s, " "); /* its length in brackets */
        s = skip_spaces(s);
    }
    if ((field = behind(s, "ack ")) != NULL) {
        s = read_number(field, &p->ack);
        if (!s)
            return false;
        s = skip_spaces(s);
        p->flags |= ACK;
    }
    field = behind(s, "win ");
    if (!field)
        return false;
    s = read_window(field, p);
    if (!s)
        return false;
    s = skip_spaces(s);
    if (*s == '<')
        read_stamp(s, stamp);
    return is_whole(p);
}

/* Reads what stands at S, behind the addresses and ": ", into P and STAMP, which say that nothing
 * is known. False if this is not TCP, or is cut or torn. */
bool read_fields(const char *s, struct packet *p, int64_t *stamp)
{
    const char *flags = behind(s, "Flags [");
    bool read = false;

    if (flags)
        read = read_new_fields(flags, p, stamp);
    else if (*s && strchr("SFPRWEU.", *s))
        read = read_old_fields(s, p, stamp);
    set_end(p);
    return read;
}

bool is_tcp(const char *s)
{
    struct packet p = { .seq = ABSENT, .ack = ABSENT };
    int64_t stamp;

    return read_fields(s, &p, &stamp);
}
