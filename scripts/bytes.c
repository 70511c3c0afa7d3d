/* bytes.c - the bytes of packets.
 *
 * In: the lines that -x, -xx, -X, -XX and -A print behind a packet. Out: the first bytes of its
 * data, its IP id and TTL; and which lines are payload, whatever stands in them.
 */
#include "read.h"

#include <stdlib.h>
#include <string.h>

#define DATA 16u    /* bytes that are kept: longer data is not shown */
#define HEADERS 40u /* bytes: those of a packet have no less */

/* Takes "0x0010:  7f00 0001 ...  ASCII"; its digits if they are WANTED. False if S is none. */
bool take_bytes(struct dump *dump, const char *s, bool wanted)
{
    size_t n;

    s = behind(s, "0x");
    if (!s)
        return false;
    s = behind(s + strspn(s, "0123456789abcdef"), ":  ");
    if (!s)
        return false;
    while (wanted && (n = strspn(s, "0123456789abcdef")) > 0) {
        for (size_t i = 0; i < n; i++) {
            if (dump->count < DUMP_DIGITS)
                dump->digit[dump->count] = s[i];
            dump->count++;
        }
        s += n;
        s += *s == ' '; /* two spaces end them */
    }
    return true;
}

/* The number that N digits at AT are. */
static unsigned number_at(const struct dump *dump, size_t at, size_t n)
{
    char digits[9] = "";

    memcpy(digits, dump->digit + at, n);
    return (unsigned)strtoul(digits, NULL, 16);
}

/* How many digits the IP packet has that begins at digit AT, 0 if there is none. */
static size_t ip_digits(const struct dump *dump, size_t at)
{
    size_t bytes = 0;
    size_t least = at + (size_t)2 * HEADERS;

    if (least > dump->count || least > DUMP_DIGITS)
        return 0;
    if (dump->digit[at] == '4' && dump->digit[at + 1] >= '5')
        bytes = number_at(dump, at + 4, 4);
    else if (dump->digit[at] == '6')
        bytes = number_at(dump, at + 8, 4) + 40;
    return at + 2 * bytes <= dump->count ? 2 * bytes : 0;
}

/* The bytes of P are all there: takes out of them its data, which ends where the packet ends, and
 * what is only printed with -v. */
void end_bytes(struct dump *dump, struct packet *p)
{
    size_t at = 0;
    size_t ip = 0;
    size_t data_digits = (size_t)2 * p->size;
    size_t n = data_digits;

    if (n > (size_t)2 * DATA)
        n = (size_t)2 * DATA;
    while (at < DUMP_DIGITS && ip == 0) { /* words of a link may stand before it */
        ip = ip_digits(dump, at);
        at += ip == 0 ? 4 : 0;
    }
    if (p->size > 0 && ip >= data_digits && !p->icmp) {
        size_t data = at + ip - data_digits;
        if (data + n <= DUMP_DIGITS)
            p->data = keep(dump->digit + data, n);
    }
    if (at == 0 && p->ttl < 0 && !p->icmp && dump->digit[0] == '4') {
        p->id = (int32_t)number_at(dump, 8, 4);
        p->ttl = (int16_t)number_at(dump, 16, 2);
    }
    dump->count = 0;
}

/* Do bytes begin at S that -A has printed? E is the first byte of IPv4, and its protocol is no
 * letter; that of IPv6 is `. */
static bool is_ascii(const char *s)
{
    if (*s == 'E')
        return strlen(s) > 20 && s[9] == '.';
    return *s == '`' && strlen(s) > 40 && s[6] == '.';
}

/* Does the line S belong to bytes that -A has printed? BEHIND_PACKET: the line before it was the
 * last one of a packet with SIZE bytes of data. What looks like a packet may stand in them; but a
 * packet is followed by bytes of its own, with -v by another line before them: see NEXT. */
bool take_ascii(struct dump *dump, const char *s, const char *next, bool behind_packet, size_t size)
{
    size_t n;

    if (behind_packet && is_ascii(s)) {
        dump->ascii = true;
        dump->left = HEADERS + size;
    } else if (!dump->ascii || is_ascii(next) || (behind(next, "    ") && strstr(s, "(tos 0x"))) {
        dump->left = 0;
    }
    if (dump->left == 0)
        return false;
    n = strlen(s) + 2; /* -A leaves out the CR of CR LF */
    dump->left -= n < dump->left ? n : dump->left;
    return true;
}
