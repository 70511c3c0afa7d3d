/* ladder.c - draws the TCP conversations in what tcpdump printed: see scripts/ladder.sh, which
 * starts it, and ladder.h for the rooms through which the packets go.
 *
 * usage: ladder [-fnrv] FILE [LOG]... <PRINTED
 *   PRINTED  what tcpdump printed, of FILE
 *   -r       "tcpdump -nn -tt -S -vv -K" has printed it for us, of a recording
 *   -f       of that, there was a filter
 *   -n       without times and calls
 *   -v       only verdicts
 *   LOG      lines of the samples' programs, if it is called so and can be read
 * Exit status: 1 FILE is not whole, or something could not be read or written; 2 usage; 3 with -v,
 * a conversation lacks its beginning or its end.
 */
#include "ladder.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NOT_WHOLE = 1, USAGE = 2, UNFINISHED = 3 };

struct options {
    bool ours;
    bool filtered;
    bool times;
    bool only_verdicts;
    const char *file;
    char **logs;
    size_t log_count;
};

void *checked(void *memory)
{
    if (memory == NULL) {
        fputs("ladder.sh: out of memory (choose fewer packets: -- FILTER)\n", stderr);
        exit(NOT_WHOLE);
    }
    return memory;
}

static void take_options(struct options *options, int argc, char *argv[])
{
    int option;

    options->times = true;
    while ((option = getopt(argc, argv, "fnrv")) != -1) {
        switch (option) {
        case 'f': options->filtered = true; break;
        case 'n': options->times = false; break;
        case 'r': options->ours = true; break;
        case 'v': options->only_verdicts = true; break;
        default: exit(USAGE);
        }
    }
    if (optind == argc)
        exit(USAGE);
    options->file = argv[optind++];
    options->logs = argv + optind;
    options->log_count = (size_t)(argc - optind);
}

/* Draws all of them. Returns whether all are whole. */
static bool draw_all(const struct options *options, const struct drawing *drawing,
                     struct conversation *first, const struct calls *calls)
{
    const struct call *call = calls->call;
    const struct call *end = calls->count == 0 ? call : call + calls->count;
    bool all_whole = true;

    for (struct conversation *c = first; c != NULL; c = c->next) {
        const struct call *its = call;
        struct outcome outcome;

        find_heard(c);
        outcome = find_outcome(c);
        while (call < end && call->conversation == c->number)
            call++;
        if (options->only_verdicts)
            print_verdict(drawing, c, verdict(c, &outcome));
        else
            draw(drawing, c, its, (size_t)(call - its), verdict(c, &outcome));
        all_whole = all_whole && outcome.whole && outcome.over;
    }
    return all_whole;
}

/* NAME without what steers a terminal: C0, and C1 in UTF-8. */
static void print_name(const char *name)
{
    for (const unsigned char *c = (const unsigned char *)name; *c != '\0'; c++) {
        const bool is_c1 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f;

        fputc(is_c1 || iscntrl(*c) ? '.' : *c, stderr);
        c += is_c1;
    }
}

/* Says what is wrong. Returns whether something is. */
static bool complain(const struct options *options, const char *complaint)
{
    bool wrong = false;

    if (fflush(stdout) == EOF || ferror(stdout)) {
        fprintf(stderr, "ladder.sh: stdout: %s (there is nowhere to draw)\n", strerror(errno));
        wrong = true;
    }
    if (complaint != NULL) {
        fputs("ladder.sh: ", stderr);
        print_name(options->file);
        fprintf(stderr, ": %s\n", complaint);
        wrong = true;
    }
    return wrong;
}

int main(int argc, char *argv[])
{
    static struct options options; /* static: what these point to lasts to the end */
    static struct reading reading;
    static struct conversation *first;
    static struct calls calls;
    struct drawing drawing = { .out = stdout };
    bool all_whole;

    take_options(&options, argc, argv);
    tzset();
    reading = read_packets(stdin, options.ours, options.filtered);
    drawing.clock = reading.clock;
    drawing.times = options.times && reading.clock != NO_TIMES;
    first = find_conversations(&reading);
    calls = find_calls(options.logs, options.log_count, first);
    all_whole = draw_all(&options, &drawing, first, &calls);
    if (complain(&options, reading.complaint))
        return NOT_WHOLE;
    return options.only_verdicts && !all_whole ? UNFINISHED : EXIT_SUCCESS;
}
