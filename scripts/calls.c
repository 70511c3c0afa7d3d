/* calls.c - what the samples' programs did, from their logs.
 *
 * In: logs with lines like
 *     06:24:11.396630 client connect 127.0.0.1:8081 from 127.0.0.1:39636
 *     06:24:11.396680 client send 4 bytes "ABCD"
 * Out: the calls of each conversation, in order of their times. A program names its connection
 * when it connects or accepts; its lines from there on are about that one (a "session" below).
 *
 * The clock of a log is local time, of any zone, and has no date. Zones differ by quarters of an
 * hour: so only the time since the last quarter, the "phase", can be compared with that of a
 * conversation. A session belongs to the conversation of its ends that begins nearest to it, and
 * of two sessions of one program the nearer one is its: the other is of an older or a later
 * connection from the same port, or the same in another log. Within a session, the differences of
 * the log's times count.
 */
#include "ladder.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000)
#define QUARTER (900 * SECOND)
#define DAY (86400 * SECOND)

enum { LONGEST = 27 }; /* characters of a call that fit beside the ladder */

struct session {
    char *end[ENDS];                /* ADDRESS.PORT, as tcpdump writes it */
    int role;                       /* which of the programs this is */
    int64_t time;                   /* of its first call, since midnight */
    const struct conversation *its; /* NULL if none */
    int64_t late;                   /* so long after the conversation's begin is it */
};

struct line { /* a call, on the log's clock */
    int64_t time;
    char *text;
    size_t session;
};

struct logbook { /* all that the logs say */
    struct session *sessions;
    struct line *lines;
    size_t session_count, session_room;
    size_t line_count, line_room;
};

/* Room for one more element of SIZE bytes. */
static void *room_for_more(void *memory, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return memory;
    *room = 2 * *room + 64;
    return checked(realloc(memory, *room * size));
}

/* ---- reading --------------------------------------------------------------------------------- */
/* Takes the number before STOP at *WORDS. Returns whether there is one, of MOST at most. */
static bool take_number(const char **words, char stop, double most, double *number)
{
    char *end;

    if (!isdigit((unsigned char)**words))
        return false;
    *number = strtod(*words, &end);
    if (*end != stop || !(*number <= most))
        return false;
    *words = end + 1;
    return true;
}

/* Takes "06:24:11.396630 " at *WORDS. */
static bool take_time(const char **words, int64_t *time)
{
    double hours, minutes, seconds;

    if (!take_number(words, ':', 23, &hours) || !take_number(words, ':', 59, &minutes) ||
        !take_number(words, ' ', 61, &seconds))
        return false;
    *time = (int64_t)((hours * 3600 + minutes * 60 + seconds) * (double)SECOND + 0.5);
    return true;
}

/* Takes WORD and the blank after it at *WORDS. Returns whether it stands there. */
static bool take_word(const char **words, const char *word)
{
    size_t length = strlen(word);

    if (strncmp(*words, word, length) != 0 || (*words)[length] != ' ')
        return false;
    *words += length + 1;
    return true;
}

/* Takes "127.0.0.1:80" or "[::1]:80" at *WORDS, and returns it as tcpdump writes it. */
static char *take_end(const char **words)
{
    size_t length = strcspn(*words, " ");
    char *end = checked(malloc(length + 1));
    char *colon;
    size_t n = 0;

    for (size_t i = 0; i < length; i++)
        if ((*words)[i] != '[' && (*words)[i] != ']')
            end[n++] = (*words)[i];
    end[n] = '\0';
    colon = strrchr(end, ':');
    if (colon != NULL)
        *colon = '.';
    *words += length;
    *words += **words == ' ';
    return end;
}

static void begin_session(struct logbook *book, struct session session)
{
    book->sessions = room_for_more(book->sessions, book->session_count, &book->session_room,
                                   sizeof session);
    book->sessions[book->session_count++] = session;
}

/* The beginning of WORDS, if they are long without what is behind a comma or in brackets. */
static char *shortened(const char *words)
{
    size_t length = strlen(words);

    for (size_t i = 0; length > LONGEST && i < length; i++)
        if (strncmp(words + i, " (", 2) == 0 || strncmp(words + i, ", ", 2) == 0)
            length = i;
    return checked(strndup(words, length < LONGEST ? length : LONGEST));
}

static void add_line(struct logbook *book, int64_t time, const char *words, size_t session)
{
    book->lines = room_for_more(book->lines, book->line_count, &book->line_room,
                                sizeof *book->lines);
    book->lines[book->line_count++] = (struct line){ time, shortened(words), session };
}

/* What is remembered from one line of a log to the next. */
struct reader {
    struct logbook *book;
    char *listener;      /* ADDRESS.PORT of the server's, or NULL */
    size_t session[ENDS]; /* of the server's and the client's lines: its number + 1; 0: none */
};

static void read_line(struct reader *reader, const char *words)
{
    struct session session = { 0 };
    const char *call;

    if (!take_time(&words, &session.time))
        return;
    if (take_word(&words, "server"))
        session.role = SERVER;
    else if (!take_word(&words, "client"))
        return;
    call = words;
    if (session.role == SERVER && take_word(&words, "listen")) {
        reader->listener = take_end(&words);
        reader->session[SERVER] = 0;
    } else if (session.role == SERVER && take_word(&words, "accept")) {
        session.end[CLIENT] = take_end(&words);
        session.end[SERVER] = reader->listener;
        call = "accept";
    } else if (session.role == CLIENT && take_word(&words, "connect")) {
        session.end[SERVER] = take_end(&words);
        if (take_word(&words, "from"))
            session.end[CLIENT] = take_end(&words);
        call = "connect";
    }
    if (session.end[CLIENT] != NULL && session.end[SERVER] != NULL) {
        begin_session(reader->book, session);
        reader->session[session.role] = reader->book->session_count;
    }
    if (reader->session[session.role] > 0)
        add_line(reader->book, session.time, call, reader->session[session.role] - 1);
}

/* Reads the log NAME, if there is one. */
static void read_log(struct logbook *book, const char *name)
{
    struct reader reader = { .book = book };
    FILE *in = fopen(name, "r");
    char *words = NULL;
    size_t room = 0;

    if (in == NULL)
        return;
    while (getline(&words, &room, in) != -1) {
        words[strcspn(words, "\r\n")] = '\0';
        read_line(&reader, words);
    }
    free(words);
    fclose(in);
}

/* ---- finding the conversation of a session --------------------------------------------------- */
static int64_t phase(int64_t time)
{
    return (time % QUARTER + QUARTER) % QUARTER;
}

static int compare_times(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* The begin of a conversation, or of a session: what they are found by. */
struct begin {
    const char *client;
    const char *server;
    int64_t phase;
    const struct conversation *c;
};

struct index { /* the begins of all conversations, in the order of compare_begins() */
    struct begin *begin;
    size_t count;
};

static int compare_begins(const void *a, const void *b)
{
    const struct begin *one = a;
    const struct begin *other = b;
    int order = strcmp(one->client, other->client);

    if (order == 0)
        order = strcmp(one->server, other->server);
    return order != 0 ? order : compare_times(one->phase, other->phase);
}

static struct index make_index(const struct conversation *first)
{
    struct index index = { NULL, 0 };
    size_t room = 0;

    for (const struct conversation *c = first; c != NULL; c = c->next) {
        index.begin = room_for_more(index.begin, index.count, &room, sizeof *index.begin);
        index.begin[index.count++] =
            (struct begin){ c->end[CLIENT], c->end[SERVER], phase(c->begin), c };
    }
    if (index.count > 0)
        qsort(index.begin, index.count, sizeof *index.begin, compare_begins);
    return index;
}

/* The number of the first in INDEX of the ends of S whose phase is not before LEAST; if there is
 * none, of what comes after them. */
static size_t lower_bound(const struct index *index, const struct session *s, int64_t least)
{
    const struct begin sought = { s->end[CLIENT], s->end[SERVER], least, NULL };
    size_t low = 0;
    size_t high = index->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare_begins(&index->begin[middle], &sought) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* S belongs to C, if that is nearer than what it has; but it cannot begin a second before C. */
static void prefer(struct session *s, const struct conversation *c)
{
    int64_t late = phase(s->time - c->begin + QUARTER / 2) - QUARTER / 2;

    if (late > -SECOND && (s->its == NULL || llabs(late) < llabs(s->late))) {
        s->its = c;
        s->late = late;
    }
}

static void find_conversation(const struct index *index, struct session *s)
{
    size_t begin = lower_bound(index, s, 0);
    size_t next = lower_bound(index, s, phase(s->time));
    size_t end = lower_bound(index, s, QUARTER);

    if (begin == end)
        return;
    prefer(s, index->begin[next > begin ? next - 1 : end - 1].c); /* phases go round */
    prefer(s, index->begin[next < end ? next : begin].c);
}

/* Finds the conversation of each session. A conversation has one session of either program: the
 * nearest. */
static void find_conversations_of(struct logbook *book, const struct conversation *first)
{
    struct index index = make_index(first);
    size_t *nearest = checked(calloc(ENDS * (index.count + 1), sizeof *nearest)); /* + 1; 0: none */

    for (size_t i = 0; i < book->session_count; i++) {
        struct session *s = &book->sessions[i];
        size_t *its;

        find_conversation(&index, s);
        if (s->its == NULL)
            continue;
        its = &nearest[ENDS * (size_t)s->its->number - ENDS + (size_t)s->role];
        if (*its > 0 && llabs(book->sessions[*its - 1].late) <= llabs(s->late)) {
            s->its = NULL;
        } else {
            if (*its > 0)
                book->sessions[*its - 1].its = NULL;
            *its = i + 1;
        }
    }
    free(nearest);
    free(index.begin);
}

/* ---- calls ----------------------------------------------------------------------------------- */
static int compare_calls(const void *a, const void *b)
{
    const struct call *one = a;
    const struct call *other = b;

    if (one->conversation != other->conversation)
        return one->conversation - other->conversation;
    if (one->time != other->time)
        return compare_times(one->time, other->time);
    return one->order < other->order ? -1 : 1;
}

/* The time of LINE on the clock of the packets; a log may go on after midnight. */
static int64_t time_of(const struct line *line, const struct session *s)
{
    int64_t since = line->time - s->time;

    if (since < -DAY / 2)
        since += DAY;
    return s->its->begin + s->late + since;
}

static bool is_log(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot != NULL && strcmp(dot, ".log") == 0;
}

struct calls find_calls(char *const *files, size_t count, const struct conversation *first)
{
    struct logbook book = { 0 };
    struct calls calls = { NULL, 0 };

    for (size_t i = 0; i < count; i++)
        if (is_log(files[i]))
            read_log(&book, files[i]);
    if (book.session_count == 0)
        return calls;
    find_conversations_of(&book, first);
    calls.call = checked(malloc(book.line_count * sizeof *calls.call));
    for (size_t i = 0; i < book.line_count; i++) {
        const struct line *line = &book.lines[i];
        const struct session *s = &book.sessions[line->session];

        if (s->its == NULL)
            continue;
        calls.call[calls.count++] = (struct call){
            .time = time_of(line, s),
            .text = line->text,
            .order = i,
            .conversation = s->its->number,
            .role = s->role,
        };
    }
    qsort(calls.call, calls.count, sizeof *calls.call, compare_calls);
    return calls;
}
