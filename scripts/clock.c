/* clock.c - the time at which a line begins.
 *
 * In: HH:MM:SS.ffffff, perhaps with a date before it, or seconds since 1970, at the beginning of a
 * line or behind other words: the number of the line, a prompt, the time of a log. Out:
 * microseconds that go on after midnight.
 */
#include "read.h"

#include <string.h>

#define SECOND INT64_C(1000000) /* microseconds */
#define DAY (86400 * SECOND)
#define SELDOM 10 /* one time of so many goes back where two were swapped, not more */

/* Digits behind a point as microseconds. Returns what is behind them. */
static const char *read_fraction(const char *s, int64_t *microseconds)
{
    int64_t unit = SECOND / 10;

    *microseconds = 0;
    for (; is_digit(*s); s++) {
        *microseconds += (*s - '0') * unit;
        unit /= 10;
    }
    return s;
}

static int two_digits(const char *s)
{
    return is_digit(s[0]) && is_digit(s[1]) ? (s[0] - '0') * 10 + (s[1] - '0') : -1;
}

/* HH:MM:SS.ffffff; a difference may be negative. Returns what is behind it, NULL if it is none. */
static const char *read_time_of_day(const char *s, int64_t *time)
{
    int64_t fraction;
    bool negative = *s == '-';
    int hour;
    int minute;
    int second;

    s += negative;
    hour = two_digits(s);
    minute = hour >= 0 && s[2] == ':' ? two_digits(s + 3) : -1;
    second = minute >= 0 && s[5] == ':' ? two_digits(s + 6) : -1;
    if (second < 0 || s[8] != '.' || !is_digit(s[9]))
        return NULL;
    s = read_fraction(s + 9, &fraction);
    *time = ((hour * 60 + minute) * 60 + second) * SECOND + fraction;
    if (negative)
        *time = -*time;
    return s;
}

/* Seconds since 1970, with at least six digits behind the point: prose has other numbers. */
static const char *read_seconds(const char *s, int64_t *time)
{
    int64_t seconds;
    int64_t fraction;
    const char *point = read_number(s, &seconds);
    const char *end;

    if (!point || *point != '.')
        return NULL;
    end = read_fraction(point + 1, &fraction);
    if (end - point <= 6)
        return NULL;
    *time = seconds * SECOND + fraction;
    return end;
}

/* YYYY-MM-DD as days since 1970. Years begin in March, so that a leap day is the last of a year. */
static bool read_date(const char *s, int64_t *days)
{
    int64_t year;
    int64_t month;
    int64_t day;

    s = read_number(s, &year);
    if (!s || *s != '-' || year > 9999)
        return false;
    month = two_digits(s + 1);
    if (month < 1 || s[3] != '-')
        return false;
    day = two_digits(s + 4);
    if (day < 1)
        return false;
    year -= month < 3;
    month = (month + 9) % 12;
    *days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719469;
    return true;
}

/* Remembers the time that was PRINTED, which is that of the line if nobody changes it. */
static void take_time(struct times *times, int64_t printed)
{
    if (times->count == 0)
        times->first = printed;
    times->count++;
    times->earlier += printed < times->printed;
    times->sum += printed;
    times->printed = printed;
    times->time = printed;
}

/* DAYS: since 1970, or ABSENT: then the times go on after midnight. */
static void take_time_of_day(struct times *times, int64_t printed, int64_t days)
{
    int64_t before = times->time;

    times->clock = TIME_OF_DAY;
    if (days != ABSENT) {
        take_time(times, printed + days * DAY);
        return;
    }
    take_time(times, printed);
    if (printed + times->midnights < before - DAY / 2)
        times->midnights += DAY;
    times->time += times->midnights;
}

/* Reads the time of the line at S, the last one before its addresses. Returns what is behind it; S,
 * and TIMED is false, if the line has none: then it has that of the line before. */
const char *read_time(struct times *times, const char *s, bool *timed)
{
    const char *start = s;
    const char *end;
    int64_t days = ABSENT;
    int64_t time;
    int64_t found = ABSENT;
    bool of_day = false;
    bool found_of_day = false;

    while (*s && *s != '>' && *s != '(' && !behind(s, "IP")) {
        end = NULL;
        if (is_digit(*s) || *s == '-') {
            end = read_time_of_day(s, &time);
            of_day = end != NULL;
            if (!end)
                end = read_seconds(s, &time);
            if (!end)
                read_date(s, &days);
        }
        if (end && (*end == ' ' || *end == '\t')) {
            found = time;
            found_of_day = of_day;
            start = skip_blanks(end);
        }
        s = skip_blanks(s + strcspn(s, " \t"));
    }
    *timed = found != ABSENT;
    if (*timed && found_of_day) {
        take_time_of_day(times, found, days);
    } else if (*timed) {
        take_time(times, found);
        times->clock = SINCE_1970;
    }
    return start;
}

/* Are the times differences, as -ttt prints them? They begin with 0 and go back. */
bool are_differences(const struct times *times)
{
    return times->first == 0 && times->earlier * SELDOM > times->count;
}
