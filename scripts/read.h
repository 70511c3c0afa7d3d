/* read.h - what the files of the room "read" share. */
#ifndef READ_H
#define READ_H

#include "ladder.h"

/* ---- lines.c: lines, of which a terminal may have folded or torn some ------------------------ */
struct lines {
    FILE *in;
    bool mended;        /* as lines of somebody's text have to be */
    char *line;         /* without its end */
    char *next;         /* the line behind it, NULL at the end */
    size_t length;
    size_t next_length;
    size_t room;        /* allocated for each of them */
    size_t next_room;
};

void open_lines(struct lines *lines, FILE *in, bool mended);
bool next_line(struct lines *lines);
const char *skip_blanks(const char *s);
const char *skip_quotes(const char *s);

/* ---- clock.c: the times of lines ------------------------------------------------------------- */
struct times {
    enum clock clock;
    int64_t time;       /* of the latest line that has one */
    int64_t printed;    /* there */
    int64_t first;
    int64_t midnights;
    int64_t sum;        /* of all that was printed: -ttt prints differences */
    size_t count;
    size_t earlier;     /* times that go back */
};

const char *read_time(struct times *times, const char *s, bool *timed);
bool are_differences(const struct times *times);

/* ---- fields.c: what stands behind the addresses ---------------------------------------------- */
bool read_fields(const char *s, struct packet *p, int64_t *stamp);
bool is_tcp(const char *s);
const char *read_number(const char *s, int64_t *number);

/* ---- bytes.c: what -x, -X and -A print of a packet ------------------------------------------- */
#define DUMP_DIGITS 1024 /* headers, also those of tunnels, and the first data */

struct dump {
    char digit[DUMP_DIGITS]; /* hexadecimal */
    size_t count;            /* also of those that had no room */
    bool ascii;              /* -A */
    size_t left;             /* bytes of the packet that -A has still to print */
};

bool take_bytes(struct dump *dump, const char *s, bool wanted);
void end_bytes(struct dump *dump, struct packet *p);
bool take_ascii(struct dump *dump, const char *s, const char *next, bool behind_packet,
    size_t size);

/* ---- complaint.c: what could not be read, and the way out ------------------------------------ */
struct found {
    bool ours;
    bool filtered;
    size_t lines;
    size_t packets;      /* of any kind */
    size_t quiet;        /* printed with -q */
    size_t cut;          /* by the snap length */
    size_t undecoded;
    size_t unread;       /* lines that look like TCP */
    char *first_unread;
    char *message;       /* tcpdump's */
    const char *format;  /* of a file of another tool, and the way out */
};

void recognize(struct found *found, const char *s);
void note_unread(struct found *found, const char *s);
char *complaint(const struct found *found, size_t tcp_packets);

/* ---- numbers.c: what is known when all lines are read ---------------------------------------- */
/* Of a packet of somebody's text */
struct raw {
    int64_t sum;   /* of the times of all lines up to this one */
    int64_t stamp; /* its TCP timestamp, or ABSENT */
};

void make_absolute(struct reading *reading);
void make_times(struct reading *reading, const struct raw *raw, size_t untimed, bool differences);

/* ---- words.c: memory that lasts until the program ends --------------------------------------- */
char *keep(const char *s, size_t n);
const char *intern(const char *s, size_t n);

/* Does S begin with WORD? Returns what is behind it, NULL if not. */
static inline const char *behind(const char *s, const char *word)
{
    while (*word && *s == *word) {
        s++;
        word++;
    }
    return *word ? NULL : s;
}

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

#endif
