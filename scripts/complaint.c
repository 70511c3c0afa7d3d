/* complaint.c - what could not be read, why, and in brackets the way out. */
#include "read.h"

#include <string.h>

#define LONGEST 300 /* bytes of a complaint */
#define QUOTED 100  /* bytes of a line that is not understood */

/* Files of other tools, by their first bytes. */
static const struct {
    const char *begin;
    const char *complaint;
} formats[] = {
    { "\x1f\x8b", "compressed (zcat FILE | scripts/ladder.sh -)" },
    { "BZh", "compressed (bzcat FILE | scripts/ladder.sh -)" },
    { "\xfd" "7zXZ", "compressed (xzcat FILE | scripts/ladder.sh -)" },
    { "\x28\xb5\x2f\xfd", "compressed (zstdcat FILE | scripts/ladder.sh -)" },
    { "snoop", "a recording of snoop (editcap -F pcap FILE X.pcap)" },
};

/* Is the file that begins with S, or has such a line, another tool's? */
void recognize(struct found *found, const char *s)
{
    if (found->lines == 1)
        for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
            if (behind(s, formats[i].begin))
                found->format = formats[i].complaint;
    if (strstr(s, " Seq=") && strstr(s, " Len="))
        found->format = "text of tshark or Wireshark (draw the recording: tshark -r X -w Y.pcap)";
}

/* The line S looks like TCP and is not understood. */
void note_unread(struct found *found, const char *s)
{
    size_t n = strlen(s);

    found->unread++;
    if (!found->first_unread)
        found->first_unread = keep(s, n < QUOTED ? n : QUOTED);
}

/* "2 packets WORDS" */
static char *complain_of_some(size_t n, const char *thing, const char *words)
{
    char text[LONGEST];

    snprintf(text, sizeof text, "%zu %s%s %s", n, thing, n == 1 ? "" : "s", words);
    return keep(text, strlen(text));
}

static char *complain_of_unread(const struct found *found)
{
    char words[LONGEST - 40];

    snprintf(words, sizeof words, "of TCP not understood, cut or with unknown words: \"%s\" "
        "(print with tcpdump -nn, record with -w)", found->first_unread);
    return complain_of_some(found->unread, "line", words);
}

/* What tcpdump says. */
static char *complain_of_message(const char *message)
{
    char text[LONGEST];
    const char *way_out = "tcpdump -r says so";
    const char *before = "";
    const char *loop = behind(message, "pcap_loop: ");

    if (loop)
        message = loop;
    if (strstr(message, "filter expression")) {
        before = "FILTER: ";
        way_out = "man pcap-filter";
    } else if (behind(message, "truncated")) {
        way_out = "stop the recorder before its file is read";
    }
    snprintf(text, sizeof text, "%s%.200s (%s)", before, message, way_out);
    return keep(text, strlen(text));
}

/* Why there is not one packet of TCP. */
static const char *why_none(const struct found *found)
{
    if (found->format)
        return found->format;
    if (found->quiet > 0)
        return "tcpdump -q leaves out the flags (print it without -q)";
    if (found->filtered)
        return "no TCP in it that FILTER chooses (tcpdump -r shows what there is)";
    if (found->packets > 0)
        return "no TCP in it (scripts/capture.sh records some)";
    if (found->ours)
        return "no packets in it (scripts/capture.sh records some)";
    if (found->lines == 0)
        return "empty file (scripts/capture.sh records one)";
    return "neither a recording nor text of tcpdump (capture.sh records)";
}

/* The complaint about what was FOUND beside so many TCP_PACKETS, NULL if there is none. */
char *complaint(const struct found *found, size_t tcp_packets)
{
    const char *why;

    if (found->message)
        return complain_of_message(found->message);
    if (found->cut > 0)
        return complain_of_some(found->cut, "TCP packet",
            "cut too short by the snap length (tcpdump -s 128)");
    if (found->undecoded > 0)
        return complain_of_some(found->undecoded, "packet",
            "that tcpdump cannot decode: bad-len 0 (-r)");
    if (found->unread > 0)
        return complain_of_unread(found);
    if (tcp_packets > 0)
        return NULL;
    why = why_none(found);
    return keep(why, strlen(why));
}
