/* lines.c - lines as tcpdump printed them.
 *
 * In: a file, perhaps of somebody whose terminal has folded long lines, or torn them. Out: whole
 * lines, and the line that follows, for some are only understood with it.
 */
#include "read.h"

#include <stdlib.h>
#include <string.h>

#define FOLDED 80 /* columns of a terminal that folds longer lines */
#define TEAR 8    /* spaces in a line that a terminal of another width has torn */

const char *skip_blanks(const char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    return s;
}

/* Skips what stands before the lines of others in a mail. */
const char *skip_quotes(const char *s)
{
    while (*s == '>')
        s += s[1] == ' ' ? 2 : 1;
    return s;
}

/* Reads a line into lines->next, which becomes NULL at the end. */
static void fetch(struct lines *lines)
{
    ssize_t n = getline(&lines->next, &lines->next_room, lines->in);
    char *zero;

    if (n < 0) {
        free(lines->next);
        lines->next = NULL;
        lines->next_room = 0;
        return;
    }
    zero = lines->next;
    while ((zero = memchr(zero, '\0', (size_t)(lines->next + n - zero))) != NULL)
        *zero = '.';
    if (n > 0 && lines->next[n - 1] == '\n')
        n--;
    lines->next[n] = '\0';
    lines->next_length = (size_t)n;
}

/* Begins to read IN. MENDED: somebody's terminal may have changed its lines. */
void open_lines(struct lines *lines, FILE *in, bool mended)
{
    *lines = (struct lines){ .in = in, .mended = mended };
    fetch(lines);
}

/* Does a time stand at S: 21:24:11, 2026-11-22, 1700000000.0? */
static bool is_time(const char *s)
{
    const size_t digits = strspn(s, "0123456789");

    switch (s[digits]) {
    case ':': return digits == 2;
    case '-': return digits == 4;
    case '.': return digits >= 9;
    default: return false;
    }
}

/* Does S go on with the line before it, folded by a terminal, or does a line begin there? */
static bool goes_on(const char *s)
{
    return *s && *s != '\t' && !behind(s, "    ") && !behind(s, "IP") && !is_time(s);
}

/* Joins what a terminal of 80 columns has folded. */
static void unfold(struct lines *lines)
{
    bool full = lines->length == FOLDED && is_digit(*lines->line);

    while (full && lines->next && goes_on(lines->next)) {
        size_t length = lines->length + lines->next_length;
        full = lines->next_length == FOLDED;
        lines->line = checked(realloc(lines->line, length + 1));
        memcpy(lines->line + lines->length, lines->next, lines->next_length + 1);
        lines->length = length;
        lines->room = length + 1;
        fetch(lines);
    }
}

/* Takes the gaps out of S that a terminal of another width has torn into it: out of a number the
 * whole gap, else all of it but one space. */
static void close_gaps(char *s)
{
    char *to = s;

    while (*s) {
        size_t spaces = strspn(s, " ");
        bool in_number = is_digit(s[spaces]) && is_digit(to[-1]);
        if (spaces < TEAR || !in_number)
            *to++ = *s;
        s += spaces >= TEAR ? spaces : 1;
    }
    *to = '\0';
}

/* Goes on to the next line. False at the end. */
bool next_line(struct lines *lines)
{
    char *line = lines->line;
    size_t room = lines->room;
    char *words;

    if (!lines->next) {
        free(line);
        return false;
    }
    lines->line = lines->next;
    lines->room = lines->next_room;
    lines->length = lines->next_length;
    lines->next = line;
    lines->next_room = room;
    fetch(lines);
    if (!lines->mended)
        return true;
    unfold(lines);
    words = lines->line + strspn(lines->line, " \t>");
    if (!behind(words, "0x") && *words && strstr(words, "        ")) /* TEAR spaces */
        close_gaps(words + 1);
    return true;
}
