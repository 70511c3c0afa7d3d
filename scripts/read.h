/* read.h - what the files of the room "read" share: read.c, fields.c, numbers.c, words.c. */
#ifndef READ_H
#define READ_H

#include "ladder.h"

/* What is known of a packet of somebody's text until the whole text is read. */
struct raw {
    int64_t sum;   /* of the times of all lines up to this one: -ttt prints differences */
    int64_t stamp; /* its TCP timestamp, or ABSENT */
};

/* fields.c */
bool read_fields(const char *s, struct packet *p, int64_t *stamp);
const char *read_number(const char *s, int64_t *number);

/* numbers.c */
void make_absolute(struct reading *reading);
void make_times(struct reading *reading, const struct raw *raw, size_t untimed, bool differences);

/* words.c */
void *resize(void *old, size_t count, size_t size);
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
