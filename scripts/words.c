/* words.c - memory that lasts until the program ends, and words that stand in it once each.
 *
 * In: bytes of somebody's text. Out: printable ASCII; equal words are the same pointer. So nothing
 * that text brings steers a terminal, and ends are compared without a look at their letters.
 */
#include "read.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 65536 /* bytes that are asked for at once */

static const char **table; /* of words: the first free place at or behind hash(word) has it */
static size_t places;      /* in the table: a power of 2, more than words */
static size_t words;

/* Keeps the N bytes at S as a string of its own: what is not printable becomes a dot. */
char *keep(const char *s, size_t n)
{
    static char *block;
    static size_t left;
    char *kept;

    if (n >= left) {
        left = n >= BLOCK ? n + 1 : BLOCK;
        block = checked(malloc(left));
    }
    kept = block;
    for (size_t i = 0; i < n; i++) {
        kept[i] = s[i];
        if (s[i] < ' ' || s[i] > '~')
            kept[i] = '.';
    }
    kept[n] = '\0';
    block += n + 1;
    left -= n + 1;
    return kept;
}

/* FNV-1a */
static size_t hash(const char *s, size_t n)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h;
}

/* The place in the table of the word of N bytes at S, or the free place where it belongs. */
static const char **place_of(const char *s, size_t n)
{
    size_t i = hash(s, n) & (places - 1);

    while (table[i] && (strncmp(table[i], s, n) != 0 || table[i][n] != '\0'))
        i = (i + 1) & (places - 1);
    return &table[i];
}

static void enlarge_table(void)
{
    const char **old = table;
    size_t old_places = places;

    places = old_places > 0 ? 2 * old_places : 1024;
    table = checked(calloc(places, sizeof *table));
    for (size_t i = 0; i < old_places; i++)
        if (old[i])
            *place_of(old[i], strlen(old[i])) = old[i];
    free(old);
}

/* The word of the N bytes at S: for equal bytes the same pointer. */
const char *intern(const char *s, size_t n)
{
    const char **place;

    if (2 * (words + 1) > places) /* half full */
        enlarge_table();
    place = place_of(s, n);
    if (!*place) {
        *place = keep(s, n);
        words++;
    }
    return *place;
}
